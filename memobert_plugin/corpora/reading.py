"""What every reader returns, and what can be done with it before it becomes a manifest."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from ..core.errors import UserError
from ..core.files import regular
from ..core.rng import Stream, uniform
from ..data.manifest import ManifestRow, utterance_uid, write_manifest


@dataclass(frozen=True)
class Defect:
    """A file or row of a corpus that is left out."""

    place: str
    """The file, with the row where it has rows."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True)
class Reading:
    """A corpus as it was found.

    Attributes:
        rows: one per utterance, media paths absolute.
        defects: what could not be used.
        remarks: anything else the user should know; a line each.
        other_counts: how the corpus differs from what its publisher counts, where a complete copy cannot; a line each.
    """

    rows: list[ManifestRow]
    defects: list[Defect]
    remarks: list[str]
    other_counts: list[str] = field(default_factory=list)

    @property
    def failed_share(self) -> float:
        """Defects among everything that was looked at."""
        return len(self.defects) / max(1, len(self.defects) + len(self.rows))

    def renamed(self, names: Mapping[str, str]) -> Reading:
        """Emotions under other names; two that get one name become one emotion.

        Raises:
            UserError: a name that no row has.
        """
        self._refuse_unknown(names)
        return replace(self, rows=[replace(row, emotion=names.get(row.emotion, row.emotion)) for row in self.rows])

    def of_emotions(self, kept: Collection[str]) -> Reading:
        """Only the utterances of these emotions.

        Raises:
            UserError: an emotion that no row has.
        """
        self._refuse_unknown(kept)
        return replace(self, rows=[row for row in self.rows if row.emotion in kept])

    def with_valid_share(self, share: float) -> Reading:
        """A split made here: about ``share`` of the utterances in ``valid``, the rest in ``train``.

        The choice depends on an utterance's id alone, so that it stays the same when others come or go.
        """
        uids = np.array([utterance_uid(row.id) for row in self.rows], dtype=np.uint64)
        chosen = uniform(0, 0, Stream.VALID_SHARE, uids, 0) < share
        splits = np.where(chosen, "valid", "train").tolist()
        return replace(self, rows=[replace(row, split=split) for row, split in zip(self.rows, splits, strict=True)])

    def write(self, manifest: Path) -> None:
        """Write the manifest; media below its folder get relative paths, so that the two can move together.

        Raises:
            UserError: no utterance is left, or the manifest cannot be written.
        """
        if not self.rows:
            raise UserError(f"{manifest}: no utterance is left to write; see what was left out")
        folder = os.path.abspath(manifest.parent)
        try:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(
                manifest,
                (
                    replace(row, video=_portable(row.video, folder), audio=_portable(row.audio, folder))
                    for row in self.rows
                ),
            )
        except OSError as error:
            raise UserError(f"{manifest}: cannot be written ({error.strerror}); name another file") from None

    def _refuse_unknown(self, names: Collection[str]) -> None:
        known = sorted({row.emotion for row in self.rows})
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UserError(f"emotion {', '.join(unknown)}: the corpus has {', '.join(known)}")


def differing_counts(corpus: str, published: Mapping[str, int], found: Counter[str]) -> list[str]:
    """One line that names every count which is not the publisher's, or no line; the name "" is an unlabelled turn."""
    names = [*published, *sorted(set(found) - set(published))]
    differing = [name for name in names if found[name] != published.get(name, 0)]
    if not differing:
        return []
    listed = ", ".join(f"{name or 'no label'} {found[name]} instead of {published.get(name, 0)}" for name in differing)
    return [f"{sum(found.values())} utterances; {corpus} has {sum(published.values())}: {listed}"]


def _portable(media: str, folder: str) -> str:
    return os.path.relpath(media, folder) if media.startswith(folder + os.sep) else media


_LEFT_OVER_CP1252: Final = re.compile("[\x80-\x9f]")
_BLANKS: Final = re.compile(r"[\x00-\x20\x7f\u2028\u2029]+")


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files with one of these suffixes (lower case), those less deep in folders first, then by name.

    Hidden files, and what an archive made on a Macintosh brings along (``._name``, ``__MACOSX``), are no files of a
    corpus.
    """
    for path in sorted(folder.rglob("*"), key=lambda path: (len(path.parts), path)):
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if path.suffix.lower() in suffixes and not hidden and path.is_file():
            yield path


def read_text(path: Path) -> str:
    """A text file's content: UTF-8, or else Windows' cp1252, which holds Latin-1's letters. Line ends become ``\\n``.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the copy of the corpus") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def mended(text: str) -> str:
    """One line of text: left-over bytes of cp1252 (``\\x92`` for an apostrophe) as characters, blanks as one space."""
    text = _LEFT_OVER_CP1252.sub(lambda found: found[0].encode("latin-1").decode("cp1252", errors="ignore"), text)
    return _BLANKS.sub(" ", text).strip()
