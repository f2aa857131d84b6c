"""A plan file is read as meant, and every mistake in it is answered with the key and what it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.plan import read_plan
from tests.sweep.sweeps import plan_of, plan_values, write_plan


def values(**changes: Any) -> dict[str, Any]:
    return plan_values(Path("/data/bin"), **changes)


def test_defaults_are_the_honest_ones(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, values())
    assert plan.protocol == "strict" and plan.train_fractions == (1.0,) and plan.modality_cases == ("lva",)
    assert list(plan.ablations) == ["full"] and plan.keep_checkpoints == "selected" and not plan.slurm
    assert plan.pretraining is not None and plan.pretraining.seed == 1234 and plan.pretraining.checkpoint == "best"


def test_relative_paths_start_at_the_plans_folder(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, values(corpus={"path": "bins/emotions"}, bert="bert"))
    assert plan.corpus == tmp_path / "bins/emotions" and plan.corpus_name == "emotions"
    assert plan.bert == tmp_path / "bert"


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "corpus: {path: bin}\nsettings: [direct]\nmodel: {arch: memobert_tiny}\n"
        "emotion: {flags: {batch-size: 4, max_epoch: 2, lr: 5e-5}}\n",
        encoding="utf-8",
    )
    plan = read_plan(path)
    assert plan.emotion == {"batch_size": 4, "max_epoch": 2, "lr": 5e-5} and plan.name == "plan"


def test_ablations_by_name_and_by_their_flags(tmp_path: Path) -> None:
    named = plan_of(tmp_path, values(ablations=["full", "no_acoustic"]))
    assert named.ablations == {"full": {}, "no_acoustic": {"mafr_ratio": 0}}
    own = plan_of(tmp_path, values(ablations={"short_spans": {"mask_span_length": 1}}))
    assert own.ablations == {"short_spans": {"mask_span_length": 1}}


def test_slurm_resources_of_each_kind(tmp_path: Path) -> None:
    slurm = {"partition": "gpu", "gpus_per_node": 1, "pretraining": {"gpus_per_node": 4, "nodes": 2, "minutes": 600}}
    plan = plan_of(tmp_path, values(slurm=slurm))
    assert plan.slurm["pretraining"].ranks == 8 and plan.slurm["pretraining"].partition == "gpu"
    assert plan.slurm["emotion"].ranks == 1 and plan.slurm["emotion"].minutes == 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": {"direct": {"setting": "direct"}}},
            "variants: has 'direct'; give an identifier that is no setting",
        ),
        (
            {"variants": {"x": {"setting": "mult"}}},
            "variants.x.setting: is 'mult'; give one of direct, pretrain_prompt",
        ),
        ({"variants": {"x": {"setting": "direct", "flag": 1}}}, "variants.x.flag: is no key here"),
        ({"variants": {"x": {"setting": "direct", "flags": {"seed": 1}}}}, "variants.x.flags.seed: .*give seeds"),
        ({"setings": ["direct"]}, "setings: is no key here; known are .*settings"),
        ({"settings": ["direkt"]}, "settings: has 'direkt'; give names out of direct, direct_prompt, bert_finetune"),
        ({"settings": []}, "settings: is .*; give a list with at least one entry"),
        ({"protocol": "loose"}, "protocol: is 'loose'; give one of strict, all_but_one, reference"),
        ({"seeds": [1, 1]}, "seeds: .*name each entry once"),
        ({"seeds": ["a"]}, "seeds: .*whole numbers"),
        ({"train_fractions": [0.0, 1.0]}, "train_fractions: .*above 0 and at most 1"),
        ({"folds": "some"}, "folds: .*list"),
        ({"settings": ["bert_finetune"]}, "bert: is missing; give a Hugging Face BERT folder"),
        ({"pretraining": None}, "pretraining: is missing; settings direct, pretrain_prompt need it"),
        ({"settings": ["direct"], "ablations": ["full", "no_visual"]}, "ablations: change pre-training"),
        ({"ablations": {"../../x": {}}}, r"ablations: is '\.\./\.\./x'; give a folder's name"),
        ({"ablations": {"/tmp/x": {}}}, "ablations: is '/tmp/x'; give a folder's name"),
        ({"name": "../x"}, r"name: is '\.\./x'; give a folder's name"),
        ({"train_modalities": "lv", "modality_cases": ["lva"]}, "modality_cases: has lva, trained on lv"),
        ({"emotion": {"flags": {"batch_size": 4}}}, "emotion.flags: need max_epoch or max_update"),
        ({"emotion": {"flags": {"max_epoch": 4}}}, "emotion.flags: need batch_size"),
        ({"common": {"seed": 3}}, "common.seed: is set by the sweep itself; give seeds"),
        ({"model": {}}, "model.arch: is missing"),
        ({"slurm": {"gpus_per_node": 2}}, "slurm.import.nodes: .*only pre-training is distributed"),
        ({"slurm": {"hours": 2}}, "slurm.import.hours: is no key"),
        ({"corpus": "bin"}, "corpus is 'bin'; give a mapping"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, values(**changes))


def test_a_file_that_is_no_yaml_or_not_there(tmp_path: Path) -> None:
    path = write_plan(tmp_path, {})
    path.write_text("a: [1\nb: 2", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_plan(path)
    with pytest.raises(UserError, match="no such file"):
        read_plan(tmp_path / "other.yaml")
