"""A copy of the package as it is now, so that jobs that start hours later run this and not what was edited since."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import memobert_plugin

PACKAGE = Path(memobert_plugin.__file__).resolve().parent


def take_snapshot(folder: Path) -> Path:
    """Copy the package into ``folder`` under a name made of its content, unless that copy is there already.

    Returns:
        The folder to put on the path of Python's modules.
    """
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    target = folder / digest.hexdigest()[:12]
    if not target.exists():
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copytree(PACKAGE, temporary / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        os.rename(temporary, target)
    return target
