"""Disks that are full: a small one, mounted, and a limit on every file's size, which needs no permission."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: writing more fails (Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class SmallDisk:
    """A mounted file system of some KiB."""

    def __init__(self, path: Path, kibibytes: int) -> None:
        self.path = path
        path.mkdir()
        self._mount(f"size={kibibytes}k")

    def enlarge(self) -> None:
        """Make room."""
        self._mount("remount,size=64m")

    def remove(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting a small disk is not permitted here")
