"""One recipe: Hydra's presets, plans and ``memobert-train`` take the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fairseq")

import memobert_plugin
from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.presets import (
    BASE,
    IEMOCAP,
    PRETRAINING,
    TINY,
    machine_flags,
    preset_flags,
    preset_setting,
    presets,
    shortened,
)
from tests.data_bins import make_data_bin
from tests.examples.test_presets import preset
from tests.sweep.sweeps import plan_of, plan_values

memobert_plugin.register()
HYDRA = {
    "memobert_base": (PRETRAINING, BASE),
    "memobert_tiny": (PRETRAINING, TINY),
    "prompt": ("prompt", BASE),
    "finetune": ("finetune", BASE),
    **{name: (name, f"memobert_{name}") for name in ("early_fusion", "mult", "clstm_mma", "mmin", "ssmm")},
}
"""Hydra's presets, the setting and the architecture that they train."""


def hydra_values(name: str) -> dict[str, Any]:
    """The values of a file by flag; what interpolates another section stands there."""
    groups = {group: values for group, values in preset(name).items() if isinstance(values, dict) and group != "hydra"}
    named = {"optimizer": groups["optimizer"]["_name"], "lr_scheduler": groups["lr_scheduler"]["_name"]}
    criterion = {"criterion": groups["criterion"]["_name"]}
    flat = {key: value for values in groups.values() for key, value in values.items()}
    return {**flat, **named, **criterion, "total_num_update": flat["max_update"]}


def plain(value: Any) -> Any:
    """fairseq takes lists of rates and of accumulated batches."""
    return value[0] if isinstance(value, list) else value


@pytest.mark.parametrize("name", HYDRA)
def test_hydras_files_hold_the_presets_values(name: str) -> None:
    setting_name, architecture = HYDRA[name]
    found = hydra_values(name)
    setting = preset_setting(setting_name)
    expected = {**preset_flags(setting, architecture, IEMOCAP), **machine_flags(gpu=name != "memobert_tiny")}
    del expected["num_workers"]  # of the machine
    assert {key: plain(found[key]) for key in expected} == expected


def test_every_setting_has_a_preset_that_ends() -> None:
    for name, setting in presets().items():
        for architecture in (BASE, TINY):
            flags = preset_flags(setting, architecture, 300)
            assert flags["max_update"] >= (1 if name == "zero_shot" else 200), name
            assert flags["warmup_updates"] < flags["max_update"], name


def test_unknown_settings_are_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="unknown setting 'direkt': choose from pretrain, finetune, prompt, direct"):
        preset_setting("direkt")


def test_a_small_corpus_gets_more_passes_and_validates_by_updates() -> None:
    setting = preset_setting("direct")
    large, small = preset_flags(setting, BASE, 2 * IEMOCAP), preset_flags(setting, BASE, 300)
    assert (large["max_update"], large["warmup_updates"]) == (4140, 400) and "validate_interval" not in large
    assert (small["max_update"], small["warmup_updates"], small["validate_interval_updates"]) == (200, 19, 10)


def test_shorter_trainings_keep_the_shape_of_the_schedule() -> None:
    flags = preset_flags(None, BASE, 0)
    assert shortened(flags, 400) == {
        "max_update": 400,
        "total_num_update": 400,
        "warmup_updates": 40,
        "validate_interval_updates": 20,
        "save_interval_updates": 20,
    }
    with pytest.raises(UserError, match="--max-update 0: give 1 or more"):
        shortened(flags, 0)


def test_a_plan_may_leave_its_flags_to_the_presets(tmp_path: Path) -> None:
    from memobert_plugin.sweep.commands import CommandWriter, flag_value
    from memobert_plugin.sweep.expansion import Expansion, read_emotion_corpus, read_speakers

    data_bin = make_data_bin(tmp_path)
    values = plan_values(data_bin, presets=True, model={"arch": TINY}, emotion={"flags": {"max_update": 20}})
    values["pretraining"]["flags"] = {}
    plan = plan_of(tmp_path, values)
    corpus = read_emotion_corpus(data_bin, (), "strict", (1,))
    writer = CommandWriter(plan, Path(memobert_plugin.__file__).parent, None)
    runs = Expansion(plan, corpus, read_speakers([data_bin]), tmp_path / "runs", writer).runs()
    commands = {run.name.split("/")[1]: run.commands[0] for run in runs}
    assert (
        flag_value(commands["direct"], "--lr") == "0.001"
        and flag_value(commands["pretrain_prompt"], "--lr") == "0.0005"
    )
    assert (
        flag_value(commands["direct"], "--max-update") == flag_value(commands["direct"], "--total-num-update") == "20"
    )
    assert flag_value(commands["full"], "--max-update") == "600" and commands["full"].count("--num-workers") == 1
    assert flag_value(commands["direct"], "--num-workers") == "0" and flag_value(commands["direct"], "--seed") == "1"
