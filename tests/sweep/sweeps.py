"""Plans on a small generated corpus, and runs that are Python scripts instead of trainings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memobert_plugin.sweep.commands import CommandWriter
from memobert_plugin.sweep.expansion import Expansion, Run, read_emotion_corpus, read_speakers
from memobert_plugin.sweep.plan import Plan, read_plan
from memobert_plugin.sweep.slurm import PACKAGE

OPTIMISER = {"optimizer": "memobert_adamw", "lr": 0.001, "batch_size": 8}


def plan_values(data_bin: Path, **changes: Any) -> dict[str, Any]:
    """A whole plan of a tiny model on this data-bin, pre-trained without each fold's test speaker."""
    values: dict[str, Any] = {
        "name": "tiny",
        "corpus": {"path": str(data_bin)},
        "seeds": [1],
        "folds": [1, 2],
        "settings": ["direct", "pretrain_prompt"],
        "common": {"cpu": True, "num_workers": 0},
        "model": {"arch": "memobert_tiny", "encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32},
        "pretraining": {
            "data": str(data_bin),
            "speakers": "without_test_speaker",
            "flags": {**OPTIMISER, "max_update": 4, "lr_scheduler": "fixed"},
        },
        "emotion": {"flags": {**OPTIMISER, "max_epoch": 1, "lr_scheduler": "fixed"}},
    }
    return {**values, **changes}


def write_plan(folder: Path, values: dict[str, Any], name: str = "plan.yaml") -> Path:
    """JSON is YAML too."""
    path = folder / name
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return path


def plan_of(folder: Path, values: dict[str, Any]) -> Plan:
    return read_plan(write_plan(folder, values))


def expand(folder: Path, data_bin: Path, ranks: int = 1, **changes: Any) -> dict[str, Run]:
    """The runs of a plan by name, with these values beside those of :func:`plan_values`."""
    if ranks > 1:
        changes["slurm"] = {"pretraining": {"tasks_per_node": ranks}}
    plan = plan_of(folder, plan_values(data_bin, **changes))
    emotion = read_emotion_corpus(plan.corpus, plan.labels, plan.protocol, plan.folds)
    speakers = read_speakers(plan.pretraining.data) if plan.pretraining is not None else frozenset()
    writer = CommandWriter(plan, PACKAGE, plan.slurm["pretraining"] if ranks > 1 else None)
    return {run.name: run for run in Expansion(plan, emotion, speakers, folder / "runs", writer).runs()}


def script_run(folder: Path, name: str, code: str, depends_on: Sequence[str] = (), commands: int = 1) -> Run:
    """A run of kind ``import`` whose commands are one Python script, called with the numbers of the commands."""
    script = folder / f"{name.replace('/', '_')}.py"
    script.write_text(code, encoding="utf-8")
    argv = tuple(("python", str(script), str(number)) for number in range(1, commands + 1))
    description = {
        "format": 1,
        "name": name,
        "kind": "import",
        "depends_on": list(depends_on),
        "commands": [list(command) for command in argv],
    }
    return Run(name, "import", tuple(depends_on), argv, description)
