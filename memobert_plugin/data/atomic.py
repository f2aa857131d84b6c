"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import room_is_needed


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling to write to; it replaces ``path`` when the block ends and vanishes when it fails.

    Raises:
        DiskFull: there is no room for it; what stood there before still stands.
    """
    with room_is_needed(path), _sibling(Path(path)) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def _sibling(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    try:
        yield Path(name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
