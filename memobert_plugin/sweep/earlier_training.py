"""Tell what a folder of checkpoints holds already: the training that is asked for, or another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import UserError

_MAY_CHANGE = ("max_nonfinite_updates", "predictions")
"""Flags of tasks with which the same training can go on."""
_PATHS = ("data", "unlabelled", "finetune_from_model", "text_encoder")


def is_finished(training: Sequence[str]) -> bool:
    """Tell whether a training has made all its updates, and say so; fairseq would make one more.

    Args:
        training: the command, ``fairseq-train`` first.

    Raises:
        UserError: the folder holds another training, with which this one would go on.
    """
    from ..checkpoints.last_checkpoint import LAST, is_whole, updates_of
    from .commands import flag_value

    folder, most = flag_value(training, "--save-dir"), flag_value(training, "--max-update")
    last = Path(str(folder), LAST)
    starts_otherwise = any(word.startswith(("--reset-", "--restore-file")) for word in training)
    if folder is None or starts_otherwise or not last.is_file() or not is_whole(last):
        return False
    updates = updates_of(last)
    finished = most is not None and updates >= int(most)
    if differences := list(_differences(training, last, finished)):
        raise UserError(
            f"{last}: it is of another training ({'; '.join(differences[:3])}{'; …' if differences[3:] else ''}); give "
            "another --save-dir, or remove that folder to train anew"
        )
    if finished:
        print(
            f"finished earlier: {last} has {updates} of {most} updates; for more give a larger --max-update", flush=True
        )
    return finished


def _differences(training: Sequence[str], last: Path, finished: bool) -> Iterator[str]:
    """Yield the values of a checkpoint that are others than a command's.

    Where it goes on, rates and the like may change, as fairseq lets them; where nothing is left to do, no value that
    changes the result may.
    """
    from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint
    from ..core.fairseq_quirks import quiet_fairseq
    from .checks import parsed_command

    parsed = parsed_command(training)
    if isinstance(parsed, str):
        return  # fairseq-train says what is wrong
    with quiet_fairseq():
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf
        from omegaconf import OmegaConf

        asked: Any = OmegaConf.to_container(convert_namespace_to_omegaconf(parsed), resolve=True)
    given = read_plain_checkpoint(last).get("cfg") or {}
    of_fairseq = {name for section in ("checkpoint", "dataset", "optimization") for name in asked[section]}
    compared = {"task": of_fairseq | set(_MAY_CHANGE), "checkpoint": set(asked["checkpoint"]) - {"finetune_from_model"}}
    if finished:
        derived = {name for name in asked["model"] if name.startswith("text_encoder_")}
        compared |= {"model": derived, "criterion": set(), "optimizer": {"tpu"}}
        compared["optimization"] = set(asked["optimization"]) - {"lr", "clip_norm"}
    for section, left_out in compared.items():
        before, now = given.get(section) or {}, asked.get(section) or {}
        for name in now:
            if name in before and name not in left_out and _differs(name, before, now):
                flag = "data-bin" if name == "data" else f"--{name.replace('_', '-')}"
                yield f"{flag} {_shown(before[name]) or 'nothing'}, not {_shown(now[name]) or 'nothing'}"


def _differs(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    one, other = (_shown(values[name]) for values in (before, now))
    if name in _PATHS and one and other:
        return Path(one).resolve() != Path(other).resolve()
    return one != other


def _shown(value: object) -> str:
    """Return a value as flags give it: nothing and an empty text are the same."""
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)
