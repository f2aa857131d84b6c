"""Face sources: find the faces in pictures, or look them up in another tracker's file.

A source is one file of this folder, or an entry point of the group ``memobert_plugin.face_sources`` in another
package. It is a class with the attributes ``summary`` (one line for ``--faces``) and ``Options`` (a dataclass whose
fields become flags; see :mod:`memobert_plugin.core.flags`), the class method ``from_options(options)``, and the members
of :class:`FaceSource`. If it has an attribute ``streams``, that is set to the film's streams that the user asked for (a
:class:`memobert_plugin.features.media.streams.StreamChoice`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ....core.registry import Registry
from ..face import Face

FACE_SOURCES: Final[Registry[Any]] = Registry("face source", __name__, "memobert_plugin.face_sources")

_SHARED: Final = 0.2
"""Of a square's width, with the next one."""


class FaceSource(Protocol):
    """A finder of the faces in a clip's pictures."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]:
        """Return the settings that the faces depend on, for ``extractor.json``."""

    @property
    def version(self) -> str: ...

    def start(self, path: Path, offset_seconds: float = 0.0) -> None:
        """Begin a clip of the film ``path`` and forget the clip before.

        Args:
            path: the film or clip that the pictures come from.
            offset_seconds: the film's time at which the times given to :meth:`faces` begin; 0 if these are times of
                the film.

        Raises:
            DefectiveClip: the source knows nothing about this film, or cannot read what it has.
        """

    def faces(self, time: float, rgb: np.ndarray, left_edge: int = 0) -> list[Face]:
        """Return the faces of one picture; called in the order of time.

        Args:
            time: seconds.
            rgb: uint8 ``(H, W, 3)``, which may be a part of the film's picture.
            left_edge: pixels of the film's picture to the left of that part.

        Returns:
            Faces in the part's own pixels.
        """


def load_face_source(name: str, options: Any = None) -> FaceSource:
    """Build a face source by its name.

    Args:
        name: one of ``FACE_SOURCES.names()``.
        options: an instance of the source's ``Options`` (None: their defaults).

    Raises:
        UserError: an unknown name, options that do not fit, or a package that is not installed.
    """
    source = FACE_SOURCES.get(name)
    made: FaceSource = source.from_options(source.Options() if options is None else options)
    return made


def squares(rgb: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield left edge and pixels of squares, as high as the picture, that cover a wide picture."""
    height, width = rgb.shape[:2]
    count = round((width / height - _SHARED) / (1 - _SHARED))
    for left in np.linspace(0, width - height, count).astype(int).tolist() if count > 1 else ():
        yield left, rgb[:, left : left + height]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ code writes to file descriptor 2 off the terminal, unless it fails."""
    try:
        terminal = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as logged:
        os.dup2(logged.fileno(), 2)
        try:
            yield
        except BaseException:
            logged.seek(0)
            os.write(terminal, logged.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
