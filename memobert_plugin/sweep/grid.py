"""Try several values of flags in one run, listed or drawn from ranges, and go on with the best in validation.

Draws are random search: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.

``python -m memobert_plugin.sweep.grid RUN`` chooses among the finished trainings of a run.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import replaced_when_complete

GRID = "grid"
"""Key of a flag's values in a plan, and the folder of the trainings inside a run's."""
LOW, HIGH, LOG = "low", "high", "log"
"""Keys of a range."""
CHOICE = "choice.json"
OF_PRETRAINING = "pretraining."
"""Before the names of pre-training's flags in candidates, which start from a pre-training with these values."""
MOST_TRIALS = 1000
"""Of a random search, for each fold and seed."""


@dataclass(frozen=True)
class Search:
    """A random search: how many draws from the ranges of flags, and by which seed."""

    trials: int
    seed: int


def candidates(flags: Mapping[str, Any], search: Search | None = None) -> list[dict[str, Any]]:
    """Return every combination of the values of flags that have several, or draws from all where one has a range.

    The draws follow from seed, number and flag alone: they are the same for all folds, seeds and settings.
    """
    varied = {name: value for name, value in flags.items() if isinstance(value, Mapping)}
    if search is None or not any(is_range(value) for value in varied.values()):
        values = [value[GRID] for value in varied.values()]
        return [dict(zip(varied, chosen, strict=True)) for chosen in itertools.product(*values)]
    drawn = [
        {name: _draw(value, [search.seed, number, zlib.crc32(name.encode())]) for name, value in varied.items()}
        for number in range(search.trials)
    ]
    return [one for place, one in enumerate(drawn) if one not in drawn[:place]]  # few whole numbers repeat


def flags_of_pretraining(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return those flags of a pre-training that have several values, by their names in candidates."""
    return {f"{OF_PRETRAINING}{name}": value for name, value in flags.items() if isinstance(value, Mapping)}


def divided(candidate: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the flags that a candidate sets in its pre-training, and those of its own training."""
    before = {name: value for name, value in candidate.items() if name.startswith(OF_PRETRAINING)}
    return (
        {name.removeprefix(OF_PRETRAINING): value for name, value in before.items()},
        {name: value for name, value in candidate.items() if name not in before},
    )


def is_range(value: Any) -> bool:
    """Tell whether a flag's value is a range, and no single value or grid."""
    return isinstance(value, Mapping) and LOW in value


def search_problem(search: Search | None, flags: Iterable[Mapping[str, Any]]) -> str:
    """Return what is wrong with a plan's search and the ranges of its flags; empty for nothing."""
    ranges = [name for of in flags for name, value in of.items() if is_range(value)]
    if search is not None and not ranges:
        return "has nothing to search: give a flag of emotion or pretraining {low: …, high: …}, or leave it out"
    if ranges and search is None:
        return f"is missing, and {ranges[0]} has a range; give {{trials: 20, seed: 1}}"
    return ""


def _draw(value: Mapping[str, Any], seed: Sequence[int]) -> Any:
    """Draw from a grid or a range; whole numbers where both ends are, others with six digits."""
    random = np.random.default_rng(seed)
    if not is_range(value):
        return value[GRID][int(random.integers(len(value[GRID])))]
    low, high = value[LOW], value[HIGH]
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and not value.get(LOG):
        return int(random.integers(low, high + 1))
    ends = (math.log(low), math.log(high)) if value.get(LOG) else (low, high)
    share = float(random.uniform(*ends))
    drawn = math.exp(share) if value.get(LOG) else share
    return min(max(round(drawn), low), high) if whole else float(f"{drawn:.6g}")


def listed(value: Any) -> Any:
    """Return a flag's value for a description: several values as one text."""
    if is_range(value):
        return f"{value[LOW]:g} to {value[HIGH]:g}{', logarithmic' if value.get(LOG) else ''}"
    return f"one of {', '.join(map(str, value[GRID]))}" if isinstance(value, Mapping) else value


def candidate_folder(run: Path, number: int) -> Path:
    """Return the folder of a candidate's checkpoints, numbered from 1."""
    return run / GRID / f"{number:02d}"


def choose(run: Path) -> dict[str, Any]:
    """Take the candidate with the best validation score: link its checkpoints to those of the run, and note the choice.

    Raises:
        UserError: a candidate has no score.
    """
    from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint

    description = json.loads((run / "run.json").read_text(encoding="utf-8"))
    tried, name = description["candidates"], "checkpoint_best.pt"
    scores = []
    for number in range(1, len(tried) + 1):
        path = candidate_folder(run, number) / name
        score = (read_plain_checkpoint(path).get("extra_state") or {}).get("best")
        if score is None or not math.isfinite(score):
            raise UserError(f"{path}: has no validation score; a grid chooses by it")
        scores.append(float(score))
    best = max(range(len(tried)), key=lambda place: (scores[place], -place))
    target = run / "checkpoints" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(target) as temporary:
        source = candidate_folder(run, best + 1) / name
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
    choice = {"candidates": tried, "validation": scores, "chosen": tried[best]}
    if "search" in description:
        choice["search"] = description["search"]
    with replaced_when_complete(run / CHOICE) as temporary:
        temporary.write_text(json.dumps(choice, indent=1) + "\n", encoding="utf-8")
    return choice


if __name__ == "__main__":
    from ..core.console import run_command

    def main() -> int:
        """Choose, and print the choice."""
        choice = choose(Path(sys.argv[1]))
        for values, score in zip(choice["candidates"], choice["validation"], strict=True):
            print(f"{score:.2f} in validation: {values}{' (chosen)' if values == choice['chosen'] else ''}")
        return 0

    run_command(main)
