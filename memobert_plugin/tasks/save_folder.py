"""Before a training builds its model: is ``--save-dir`` its own, and is there a whole checkpoint to go on from?

The host asks neither. Two trainings overwrite each other's checkpoints, a damaged ``checkpoint_last.pt`` ends in a
traceback, and where it is missing among others the host begins from zero without a word. Runs of ``memobert-sweep`` are
left alone: their launcher has settled both. What the host does not ask either is whether there is room: a training that
fills the disk ends in a line that says so.
"""

from __future__ import annotations

import fcntl
import os
import platform
import sys
from pathlib import Path
from types import TracebackType
from typing import TextIO

import torch

from ..checkpoints.last_checkpoint import LAST, is_whole
from ..core.errors import UserError, as_disk_full
from ..core.signals import stop_mark
from .save_folder_config import SaveFolderConfig

_LOCK = ".lock"
_held: dict[Path, TextIO] = {}
"""This process' folders; the locks end with it. Processes forked off it do not inherit them."""
_REPLACED = "python -m memobert_plugin.checkpoints.last_checkpoint {} puts the newest whole checkpoint in its place"


def settle_save_folder(config: SaveFolderConfig) -> None:
    """Refuse to train where the end would be lost work; to be called by a training, on every rank.

    Raises:
        UserError: another process trains there, the checkpoint to go on from is damaged, or it is missing where there
            are others.
    """
    first_rank = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    if stop_mark() is not None or not first_rank:
        return
    folder = Path(config.save_dir)
    if not config.no_save:
        _explain_full_disk(folder)
        if folder.is_dir():
            _claim(folder)
    by_default = config.restore_file == LAST
    path = folder / LAST if by_default else Path(config.restore_file)
    if path.is_file():
        if not is_whole(path):
            raise UserError(
                f"{path}: damaged, probably by a full disk or the end of the process that wrote it; "
                + (_REPLACED.format(folder) if by_default else "give another --restore-file")
            )
    elif by_default and not config.no_last_checkpoints:
        others = sorted(other.name for other in folder.glob("checkpoint*.pt"))
        if others:
            raise UserError(
                f"{folder}: there is {others[0]}, but no {LAST}, so training would begin from zero; "
                f"{_REPLACED.format(folder)}, or give another --save-dir"
            )


def _explain_full_disk(folder: Path) -> None:
    """Let a training that a full disk ends say so, and what to do, in its last line.

    The host saves without asking for room, logs a traceback of its own and lets the error through.
    """
    if sys.excepthook is not sys.__excepthook__:
        return

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if (full := as_disk_full(error, folder)) is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"memobert: error: {full}", file=sys.stderr)

    sys.excepthook = explain


def _claim(folder: Path) -> None:
    """Hold the folder's lock until this process ends.

    A lock of the process, not of the open file, which workers that outlive it for some seconds would keep. File systems
    that know no locks, or are not to be written to, refuse nobody.
    """
    real = folder.resolve()
    if real in _held:
        return
    try:
        stream = open(real / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError:
        return
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        stream.seek(0)
        owner = stream.read().strip() or "another process"
        stream.close()
        raise UserError(f"{folder}: {owner} is training there; give this training another --save-dir") from None
    except OSError:
        stream.close()
        return
    stream.truncate(0)
    stream.write(f"process {os.getpid()} of {platform.node()}\n")
    stream.flush()
    _held[real] = stream
