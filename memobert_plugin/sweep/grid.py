"""Try several values of flags in one run, and go on with those that are best in validation.

``python -m memobert_plugin.sweep.grid RUN`` chooses among the finished trainings of a run.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import replaced_when_complete

GRID = "grid"
"""Key of a flag's values in a plan, and the folder of the trainings inside a run's."""
CHOICE = "choice.json"


def candidates(flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the values of flags that have several."""
    varied = {name: value[GRID] for name, value in flags.items() if isinstance(value, Mapping)}
    return [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]


def listed(value: Any) -> Any:
    """Return a flag's value for a description: several values as one text."""
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
