"""Try several values of flags in one run, listed or drawn from ranges, and go on with the best in validation.

Draws are random search: Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012. On request
the later ones come from TPE, which goes by the validation scores of a run's finished trainings: Bergstra et al.,
"Algorithms for hyper-parameter optimization", NeurIPS 2011, as Optuna has it.

``python -m memobert_plugin.sweep.grid RUN`` chooses among the finished trainings of a run.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import re
import shutil
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError, pip_install
from ..core.files import replaced_when_complete

GRID = "grid"
"""Key of a flag's values in a plan, and the folder of the trainings inside a run's."""
LOW, HIGH, LOG = "low", "high", "log"
"""Keys of a range."""
CHOICE = "choice.json"
OF_PRETRAINING = "pretraining."
"""Before the names of pre-training's flags in candidates, which start from a pre-training with these values."""
MOST_TRIALS = 1000
"""Of a search, for each fold and seed."""
RANDOM, TPE = "random", "tpe"
SAMPLERS = (RANDOM, TPE)
FIRST_RANDOM = 10
"""Draws at random before TPE has enough to go by, as in Optuna."""
DRAWS = "draws.json"
"""Values that TPE has given in a run, by the candidate's number."""
_LATER = re.compile(r"\{tpe:(\d+):(.+)\}")


@dataclass(frozen=True)
class Search:
    """A search: how many draws from the ranges of flags, by which seed and sampler."""

    trials: int
    seed: int
    sampler: str = RANDOM


def candidates(flags: Mapping[str, Any], search: Search | None = None) -> list[dict[str, Any]]:
    """Return every combination of the values of flags that have several, or draws from all where one has a range.

    The draws follow from seed, number and flag alone: they are the same for all folds, seeds and settings. Of TPE the
    later ones are places, which :func:`with_draws` fills when their training begins.
    """
    varied = {name: value for name, value in flags.items() if isinstance(value, Mapping)}
    if search is None or not any(is_range(value) for value in varied.values()):
        values = [value[GRID] for value in varied.values()]
        return [dict(zip(varied, chosen, strict=True)) for chosen in itertools.product(*values)]
    drawn = [
        {name: _draw(value, [search.seed, number, zlib.crc32(name.encode())]) for name, value in varied.items()}
        for number in range(min(search.trials, FIRST_RANDOM) if search.sampler == TPE else search.trials)
    ]
    different = [one for place, one in enumerate(drawn) if one not in drawn[:place]]  # few whole numbers repeat
    later = range(len(different) + 1, len(different) + 1 + search.trials - len(drawn))
    return different + [{name: f"{{tpe:{number}:{name}}}" for name in varied} for number in later]


def with_draws(run: Path, command: Sequence[str]) -> tuple[str, ...]:
    """Return a command of a run in which TPE's values are at their places; ask for those that are not known yet.

    Raises:
        UserError: Optuna is missing, or an earlier training has no score.
    """
    places = [_LATER.fullmatch(word) for word in command]
    found = next((place for place in places if place is not None), None)
    if found is None:
        return tuple(command)
    values = _drawn_later(run, int(found[1]))
    return tuple(
        word
        if place is None
        else ",".join(map(str, value))
        if isinstance(value := values[place[2]], list)
        else str(value)
        for word, place in zip(command, places, strict=True)
    )


def _drawn_later(run: Path, number: int) -> dict[str, Any]:
    """Return what TPE gives a candidate; it is asked once, and the answer kept for a resumed run."""
    path = run / DRAWS
    draws = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if str(number) not in draws:
        description = json.loads((run / "run.json").read_text(encoding="utf-8"))
        before = [(_tried(run, description, one), _score(run, one)) for one in range(1, number)]
        draws[str(number)] = _ask(description["search"], before, number)
        with replaced_when_complete(path) as temporary:
            temporary.write_text(json.dumps(draws, indent=1) + "\n", encoding="utf-8")
    found: dict[str, Any] = draws[str(number)]
    return found


def _tried(run: Path, description: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the values of a candidate that is finished."""
    planned: dict[str, Any] = description["candidates"][number - 1]
    later = any(isinstance(value, str) and _LATER.fullmatch(value) for value in planned.values())
    return _drawn_later(run, number) if later else planned


def _ask(search: Mapping[str, Any], before: Sequence[tuple[Mapping[str, Any], float]], number: int) -> dict[str, Any]:
    """Ask TPE for the next values after those that were tried, with their scores."""
    try:
        import optuna
    except ImportError:
        raise UserError(f"search.sampler: Optuna is not installed; {pip_install('search')}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, kinds = search["space"], optuna.distributions
    distributions: dict[str, Any] = {}
    for name, value in space.items():
        whole = is_range(value) and isinstance(value[LOW], int) and isinstance(value[HIGH], int)
        if is_range(value):
            kind = kinds.IntDistribution if whole else kinds.FloatDistribution
            distributions[name] = kind(value[LOW], value[HIGH], log=bool(value.get(LOG)))
        else:
            distributions[name] = kinds.CategoricalDistribution(range(len(value[GRID])))
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=search["seed"] * MOST_TRIALS + number, n_startup_trials=1),
    )
    for tried, score in before:
        params = {
            name: tried[name] if is_range(value) else value[GRID].index(tried[name]) for name, value in space.items()
        }
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    asked = study.ask(distributions).params
    return {
        name: _rounded(value, asked[name]) if is_range(value) else value[GRID][asked[name]]
        for name, value in space.items()
    }


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


def search_problem(
    search: Search | None, flags: Sequence[Mapping[str, Any]], of_pretraining: Mapping[str, Any] | None = None
) -> str:
    """Return what is wrong with a plan's search and the ranges of its flags; empty for nothing."""
    if search is not None and search.sampler == TPE:
        if flags_of_pretraining(of_pretraining or {}):
            return "has sampler tpe, which knows no values before a run begins; vary pretraining.flags at random"
        grids = [(name, value[GRID]) for of in flags for name, value in of.items() if is_grid(value)]
        switches = [name for name, values in grids if any(isinstance(value, bool) or value is None for value in values)]
        if switches:
            return f"has sampler tpe, which takes no grid of true and false ({switches[0]}); give random"
        if importlib.util.find_spec("optuna") is None:
            return f"has sampler tpe, and Optuna is not installed; {pip_install('search')}"
    flags = [*flags, of_pretraining or {}]
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
    return _rounded(value, math.exp(share) if value.get(LOG) else share)


def _rounded(value: Mapping[str, Any], drawn: float) -> Any:
    """Return a draw from a range: a whole number where both ends are, or else with six digits, and within the ends."""
    low, high = value[LOW], value[HIGH]
    whole = isinstance(low, int) and isinstance(high, int)
    return min(max(round(drawn) if whole else float(f"{drawn:.6g}"), low), high)


def is_grid(value: Any) -> bool:
    """Tell whether a flag's value is a grid."""
    return isinstance(value, Mapping) and GRID in value


def listed(value: Any) -> Any:
    """Return a flag's value for a description: several values as one text."""
    if is_range(value):
        return f"{value[LOW]:g} to {value[HIGH]:g}{', logarithmic' if value.get(LOG) else ''}"
    return f"one of {', '.join(map(str, value[GRID]))}" if isinstance(value, Mapping) else value


def candidate_folder(run: Path, number: int) -> Path:
    """Return the folder of a candidate's checkpoints, numbered from 1."""
    return run / GRID / f"{number:02d}"


def _score(run: Path, number: int) -> float:
    """Return the validation score of a candidate that is trained.

    Raises:
        UserError: it has none.
    """
    from ..checkpoints.fairseq_checkpoint import read_plain_checkpoint

    path = candidate_folder(run, number) / "checkpoint_best.pt"
    score = (read_plain_checkpoint(path).get("extra_state") or {}).get("best")
    if score is None or not math.isfinite(score):
        raise UserError(f"{path}: has no validation score; a grid chooses by it")
    return float(score)


def choose(run: Path) -> dict[str, Any]:
    """Take the candidate with the best validation score: link its checkpoints to those of the run, and note the choice.

    Raises:
        UserError: a candidate has no score.
    """
    description = json.loads((run / "run.json").read_text(encoding="utf-8"))
    name, numbers = "checkpoint_best.pt", range(1, len(description["candidates"]) + 1)
    tried = [_tried(run, description, number) for number in numbers]
    scores = [_score(run, number) for number in numbers]
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
