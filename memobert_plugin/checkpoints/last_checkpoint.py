"""Check and repair ``checkpoint_last.pt`` before fairseq resumes a training from it.

fairseq writes one file of a save safely and copies it to the others. A process that is killed in between leaves a
truncated ``checkpoint_last.pt``, on which the next start fails, or none, and then fairseq starts from zero (or from
``--finetune-from-model``) without a message. ``memobert-sweep`` checks before every start. Run
``python -m memobert_plugin.checkpoints.last_checkpoint SAVE_DIR`` before ``fairseq-train``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.console import run_command
from ..core.errors import UserError
from ..core.fairseq_quirks import allow_fairseq_arguments
from ..core.files import replaced_when_complete
from ..core.names import counted

LAST = "checkpoint_last.pt"


def settle_last_checkpoint(folder: Path, say: Callable[[str], None]) -> int | None:
    """Make sure that fairseq finds a whole ``checkpoint_last.pt``, if any checkpoint is whole.

    Damaged files are renamed to ``NAME.damaged``. A missing or damaged ``checkpoint_last.pt`` becomes a copy of the
    whole checkpoint with most updates.

    Args:
        folder: the checkpoints' folder; it may be missing.
        say: called with a line for each change.

    Returns:
        Updates at which training goes on; None if it starts from zero.

    Raises:
        UserError: a file is whole, but not a checkpoint.
        DiskFull: there is no room for the copy.
    """
    for leftover in folder.glob("*.pt.tmp"):
        leftover.unlink()
    damaged = [path for path in folder.glob("checkpoint*.pt") if not is_whole(path)]
    for path in damaged:
        aside = path.with_name(f"{path.name}.damaged")
        path.rename(aside)
        say(f"{path.name} is damaged, probably written when the process was killed; now {aside.name}")
    last = folder / LAST
    if not last.is_file():
        others = sorted((updates_of(path), path) for path in folder.glob("checkpoint*.pt"))
        if not others:
            if damaged:
                say("no whole checkpoint is left; training starts from zero")
            return None
        updates, newest = others[-1]
        with replaced_when_complete(last) as temporary:
            shutil.copyfile(newest, temporary)
        say(f"{LAST} is now a copy of {newest.name} ({counted(updates, 'update')}), the newest whole checkpoint")
    return updates_of(last)


def is_whole(path: Path) -> bool:
    """Tell whether every part of a checkpoint file can be read and has its checksum; no code in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            # On a full disk fairseq appends a second try to the rest of the first: an archive that torch cannot read.
            begins = min((member.header_offset for member in archive.infolist()), default=None)
            return begins == 0 and archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError):
        return False


def updates_of(path: Path) -> int:
    """Return the number of updates after which a checkpoint was saved.

    Raises:
        UserError: the file is not a fairseq checkpoint.
    """
    try:
        return int(_content(path)["optimizer_history"][-1]["num_updates"])
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise UserError(f"{path}: not a fairseq checkpoint ({reason}); move it elsewhere") from None


def keeps_optimizer(path: Path) -> bool:
    """Tell whether a checkpoint holds the optimiser's state, which ``--no-save-optimizer-state`` leaves out.

    From one without it fairseq takes the weights, and begins again at update 0 without a message. Any other file counts
    as having it: fairseq says what is wrong with it.
    """
    try:
        content = _content(path)
        return "optimizer_history" not in content or content.get("last_optimizer_state") is not None
    except Exception:
        return True


def _content(path: Path) -> dict[str, Any]:
    import torch

    allow_fairseq_arguments()
    content: dict[str, Any] = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Repair the checkpoints of one folder."""
    parser = argparse.ArgumentParser(
        prog="python -m memobert_plugin.checkpoints.last_checkpoint",
        description=f"Make sure that fairseq-train goes on from a whole {LAST}: damaged checkpoints are renamed to "
        "NAME.damaged, and the whole one with most updates takes their place. The exit status is 1 if there were "
        "checkpoints, and none is whole.",
    )
    parser.add_argument("folder", type=Path, metavar="SAVE_DIR", help="the --save-dir of the training")
    folder = parser.parse_args(arguments).folder
    updates = settle_last_checkpoint(folder, print)
    if updates is None and any(folder.glob("checkpoint*.pt.damaged")):
        return 1
    print(
        "no checkpoint: training starts from zero"
        if updates is None
        else f"{LAST}: whole, {counted(updates, 'update')}"
    )
    if updates is not None and not keeps_optimizer(folder / LAST):
        print("it lacks the optimiser's state: training cannot go on from it, but begin anew with --reset-optimizer")
    return 0


if __name__ == "__main__":
    sys.argv[0] = "python -m memobert_plugin.checkpoints.last_checkpoint"
    run_command(main)
