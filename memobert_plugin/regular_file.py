"""Files from elsewhere are files: a pipe, on which reading waits for ever, or a device without end is refused."""

from __future__ import annotations

import errno
import os
import stat
from typing import TypeVar

PathLike = TypeVar("PathLike", bound="str | os.PathLike[str]")


def regular(path: PathLike) -> PathLike:
    """Return ``path`` if it may be opened for reading.

    Symbolic links are followed. A folder passes, since opening it fails anyway, with the system's own words.

    Raises:
        OSError: there is nothing, or a device, pipe or socket.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return path
    raise OSError(errno.ENODEV, "a device or pipe, not a file", str(path))
