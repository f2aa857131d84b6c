"""Check the folder of a training's checkpoints before its model is built.

fairseq checks nothing: two trainings overwrite each other's checkpoints, a damaged ``checkpoint_last.pt`` ends in a
traceback, and where that file is missing among others, training begins from zero without a word. Runs of
``memobert-sweep`` are left alone, because their launcher has checked all this. A training that fills the disk ends in
a line that says so.
"""

import logging
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

import torch
from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from ..checkpoints.last_checkpoint import LAST, is_whole, keeps_optimizer
from ..core.errors import UserError, as_disk_full
from ..core.files import taken
from ..core.signals import stop_mark

logger = logging.getLogger(__name__)


@dataclass
class SaveFolderConfig(FairseqDataclass):
    """fairseq's flags about where checkpoints are, which every task needs to know."""

    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    reset_optimizer: bool = II("checkpoint.reset_optimizer")
    no_save: bool = II("checkpoint.no_save")
    no_last_checkpoints: bool = II("checkpoint.no_last_checkpoints")
    save_interval_updates: int = II("checkpoint.save_interval_updates")
    validate_interval_updates: int = II("dataset.validate_interval_updates")
    disable_validation: bool = II("dataset.disable_validation")


_LOCK = ".lock"
_held: dict[Path, TextIO] = {}
"""Locked folders of this process. The locks end with it."""
_REPAIR = "python -m memobert_plugin.checkpoints.last_checkpoint {} puts the newest whole checkpoint in its place"


def check_save_folder(config: SaveFolderConfig) -> None:
    """Refuse to train where work would be lost; called by every rank of a training.

    Raises:
        UserError: another process trains there, the checkpoint to go on from is damaged, or it is missing where there
            are others.
    """
    warn_of_unsaved_validations(config)
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
                + (_REPAIR.format(folder) if by_default else "give another --restore-file")
            )
        if by_default and not config.reset_optimizer and not keeps_optimizer(path):
            raise UserError(
                f"{path}: saved with --no-save-optimizer-state, so fairseq would take its weights and begin again at "
                "update 0; delete the folder's checkpoints to train anew, or give --reset-optimizer if that is wanted"
            )
    elif by_default and not config.no_last_checkpoints:
        others = sorted(other.name for other in folder.glob("checkpoint*.pt"))
        if others:
            raise UserError(
                f"{folder}: there is {others[0]}, but no {LAST}, so training would begin from zero; "
                f"{_REPAIR.format(folder)}, or give another --save-dir"
            )


def warn_of_unsaved_validations(config: SaveFolderConfig) -> None:
    """Log that validations between saves choose nothing: the best checkpoint is one of those that fairseq saves."""
    if config.no_save or config.disable_validation:
        return
    every, saved = config.validate_interval_updates, config.save_interval_updates
    if every > 0 and (saved <= 0 or every % saved):
        logger.warning(
            "--validate-interval-updates %d: a validation between two saves cannot choose checkpoint_best; "
            "give --save-interval-updates %d too",
            every,
            every,
        )


def _explain_full_disk(folder: Path) -> None:
    """Let a training that is ended by a full disk print one last line with the folder and the remedy.

    fairseq saves without checking for room, logs a traceback of its own and passes the error on.
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

    Forked processes close the file: data-loading workers may live some seconds longer, and must not keep the lock. File
    systems without locks, and those that cannot be written to, refuse nobody.
    """
    real = folder.resolve()
    if real in _held:
        return
    try:
        stream = open(real / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError:
        return
    if not taken(stream.fileno()):
        stream.seek(0)
        owner = stream.read().strip() or "another process"
        stream.close()
        raise UserError(f"{folder}: {owner} is training there; give this training another --save-dir")
    os.register_at_fork(after_in_child=stream.close)
    stream.truncate(0)
    stream.write(f"process {os.getpid()} of {platform.node()}\n")
    stream.flush()
    _held[real] = stream
