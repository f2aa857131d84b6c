"""Grids: candidates, the choice by validation, and plans that start from checkpoints that exist."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import kstest

pytest.importorskip("fairseq")

import memobert_plugin
from memobert_plugin.cli.report import main as report
from memobert_plugin.cli.sweep import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep import grid
from memobert_plugin.sweep.commands import flag_arguments, flag_value
from memobert_plugin.sweep.grid import Search, candidate_folder, candidates, choose, with_draws
from tests.data_bins import CorpusShape, make_data_bin
from tests.sweep.sweeps import OPTIMISER, expand, plan_of, plan_values, write_plan

memobert_plugin.register()
GRID = {"lr": {"grid": [0.01, 0.001]}, "dropout": {"grid": [0.0, 0.3]}}
DIRECT = "emotion/direct/full/fraction100/fold01/seed1"


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=10))


def grid_values(data_bin: Path, **changes: Any) -> dict[str, Any]:
    flags = {**OPTIMISER, "max_update": 6, "lr_scheduler": "fixed"}
    emotion = {"flags": flags, "setting_flags": {"direct": GRID}}
    return plan_values(data_bin, **{"settings": ["direct"], "folds": [1], "emotion": emotion, **changes})


def test_candidates_are_all_combinations() -> None:
    assert candidates({"lr": 1}) == [{}]
    assert candidates({"batch_size": 8, **GRID}) == [
        {"lr": 0.01, "dropout": 0.0}, {"lr": 0.01, "dropout": 0.3}, {"lr": 0.001, "dropout": 0.0},
        {"lr": 0.001, "dropout": 0.3},
    ]  # fmt: skip


def write_candidates(run: Path, scores: list[float | None]) -> Path:
    for number, score in enumerate(scores, start=1):
        folder = candidate_folder(run, number)
        folder.mkdir(parents=True)
        torch.save({"extra_state": {"best": score}, "model": {}}, folder / "checkpoint_best.pt")
    (run / "run.json").write_text(json.dumps({"candidates": [{"lr": number} for number in range(len(scores))]}))
    return run


def test_the_best_in_validation_is_taken_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    run = write_candidates(tmp_path, [40.0, 60.0, 60.0])
    assert choose(run)["chosen"] == {"lr": 1}
    taken = torch.load(run / "checkpoints" / "checkpoint_best.pt", weights_only=True)
    assert taken["extra_state"]["best"] == 60
    assert json.loads((run / "choice.json").read_text())["validation"] == [40, 60, 60]


def test_a_candidate_without_a_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no validation score; a grid chooses by it"):
        choose(write_candidates(tmp_path, [40.0, None]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotion": {"flags": {**OPTIMISER, "lr": {"grid": [1]}}}}, "lr.grid: is .*two or more different"),
        ({"emotion": {"flags": {**OPTIMISER, "lr": {"grid": [1, 1]}}}}, "two or more different values"),
        ({"emotion": {"flags": {**OPTIMISER, "lr": {"from": 1}}}}, "give the value of fairseq's flag --lr, or {grid:"),
        ({"common": {"lr": {"grid": [1, 2]}}}, "common.lr: is .*give the value of fairseq's flag --lr$"),
        ({"protocol": "all_but_one"}, "all_but_one has no validation to choose by"),
        ({"pretraining": {"checkpoint": "x.pt", "flags": {"lr": 1}}}, "train nothing beside a checkpoint that exists"),
        ({"pretraining": {"checkpoint": "x.pt"}, "ablations": ["full", "no_visual"],
          "settings": ["direct", "pretrain_prompt"]},
         "which pretraining.checkpoint replaces"),
    ],
)  # fmt: skip
def test_plans_without_sense_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, grid_values(Path("/data/bin"), **changes))


def test_a_grid_of_pretraining_is_pretrained_once_and_tried_in_every_run(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, settings=["direct", "pretrain_prompt"], train_fractions=[1.0, 0.5], folds=[1])
    values["pretraining"]["flags"]["lr"] = {"grid": [0.01, 0.001]}
    values["emotion"]["setting_flags"] = {"pretrain_prompt": {"dropout": {"grid": [0.0, 0.3]}}}
    runs = expand(tmp_path, data_bin, **values)
    pretrained = [name for name in runs if name.startswith("pretraining")]
    assert pretrained == [f"pretraining/full/seed1234-without-spk0-grid{number:02d}" for number in (1, 2)]
    assert [flag_value(runs[name].commands[0], "--lr") for name in pretrained] == ["0.01", "0.001"]
    assert [runs[name].description["chosen"] for name in pretrained] == [{"lr": 0.01}, {"lr": 0.001}]
    prompt = runs["emotion/pretrain_prompt/full/fraction100/fold01/seed1"]
    assert prompt.depends_on == tuple(pretrained)
    trainings = [one for one in prompt.commands if one[0] == "fairseq-train"]
    starts = [str(flag_value(one, "--finetune-from-model")) for one in trainings]
    assert ["grid01" in one for one in starts] == [True, True, False, False]
    assert [flag_value(one, "--dropout") for one in trainings] == ["0.0", "0.3"] * 2
    assert prompt.description["candidates"][1] == {"pretraining.lr": 0.01, "dropout": 0.3}
    assert runs["emotion/direct/full/fraction100/fold01/seed1"].depends_on == ()


def test_a_setting_without_labels_says_that_validation_chose(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, settings=["zero_shot", "pretrain_prompt"], folds=[1])
    plain = expand(tmp_path, data_bin, **values)["emotion/zero_shot/full/fraction100/fold01/seed1"]
    values["pretraining"]["flags"]["lr"] = {"grid": [0.01, 0.001]}
    runs = expand(tmp_path, data_bin, **values)
    assert "validation" in runs[plain.name].description["setting_note"] and not plain.description["setting_note"]
    assert not runs["emotion/pretrain_prompt/full/fraction100/fold01/seed1"].description["setting_note"]


def test_an_ablation_replaces_the_grid_of_its_flag(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, settings=["pretrain_prompt"], folds=[1])
    values["pretraining"]["flags"] |= {"mvfr_ratio": {"grid": [1, 2]}, "lr": {"grid": [0.01, 0.001]}}
    values["ablations"] = {"full": {}, "no_mvfr": {"mvfr_ratio": 0}}
    runs = expand(tmp_path, data_bin, **values)
    pretrained = [name for name in runs if name.startswith("pretraining/no_mvfr")]
    assert pretrained == [f"pretraining/no_mvfr/seed1234-without-spk0-grid{number:02d}" for number in (1, 2)]
    assert [flag_value(runs[name].commands[0], "--lr") for name in pretrained] == ["0.01", "0.001"]
    assert {flag_value(runs[name].commands[0], "--mvfr-ratio") for name in pretrained} == {"0"}
    tried = runs["emotion/pretrain_prompt/no_mvfr/fraction100/fold01/seed1"].description["candidates"]
    assert tried == [{"pretraining.lr": 0.01}, {"pretraining.lr": 0.001}]
    assert len([name for name in runs if name.startswith("pretraining/full")]) == 4


def test_a_search_draws_for_pretraining_and_emotion_together(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, settings=["pretrain_finetune"], folds=[1], search={"trials": 3, "seed": 1})
    values["pretraining"]["flags"]["lr"] = {"low": 1e-4, "high": 1e-2, "log": True}
    values["emotion"]["setting_flags"] = {"pretrain_finetune": {"dropout": {"low": 0.0, "high": 0.5}}}
    runs = expand(tmp_path, data_bin, **values)
    run = runs["emotion/pretrain_finetune/full/fraction100/fold01/seed1"]
    assert len(runs) == 4 and len(run.depends_on) == len(run.description["candidates"]) == 3
    trainings = [one for one in run.commands if one[0] == "fairseq-train"]
    for training, name, tried in zip(trainings, run.depends_on, run.description["candidates"], strict=True):
        assert name in str(flag_value(training, "--finetune-from-model"))
        assert flag_value(runs[name].commands[0], "--lr") == str(tried["pretraining.lr"])
        assert flag_value(training, "--dropout") == str(tried["dropout"])
    assert set(run.description["search"]["ranges"]) == {"pretraining.lr", "dropout"}


@pytest.mark.slow
def test_a_grid_of_pretraining_runs_to_its_report(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, settings=["pretrain_finetune"], folds=[1])
    values["pretraining"]["flags"]["lr"] = {"grid": [0.01, 0.0001]}
    plan = write_plan(tmp_path, values)
    assert main([str(plan), "--output", str(tmp_path / "runs")]) == 0
    choice = json.loads(next((tmp_path / "runs").rglob("choice.json")).read_text())
    assert choice["chosen"] == choice["candidates"][int(np.argmax(choice["validation"]))]
    assert report([str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--no-floors", "--no-pictures"]) == 0
    assert "2 trainings for each fold and seed" in (tmp_path / "report" / "index.html").read_text()


def test_a_checkpoint_that_is_not_there_is_refused(data_bin: Path, tmp_path: Path) -> None:
    values = grid_values(
        data_bin, settings=["pretrain_prompt"], pretraining={"checkpoint": "{speaker}/{fold}/{seed}.pt"}
    )
    plan = write_plan(tmp_path, {**values, "emotion": {"flags": values["emotion"]["flags"]}})
    with pytest.raises(
        UserError, match=r"pretraining.checkpoint: .*/spk0/1/1.pt does not exist; name one, best or last"
    ):
        main([str(plan), "--dry-run"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dropuot": 0.1}, "unrecognized arguments: --dropuot 0.1"),
        ({"batch_size": "many"}, "invalid int value: 'many'"),
        ({"train_subset": "train", "criterion_weight": 1}, "unrecognized arguments: --criterion-weight 1"),
    ],
)
def test_wrong_flags_are_refused_before_anything_runs(
    data_bin: Path, tmp_path: Path, flags: dict[str, Any], message: str
) -> None:
    values = grid_values(data_bin, emotion={"flags": {**OPTIMISER, "max_update": 6, **flags}})
    plan = write_plan(tmp_path, values)
    for more in (["--dry-run"], []):
        with pytest.raises(UserError, match=f"{DIRECT}: fairseq-train: .*{message}"):
            main([str(plan), "--output", str(tmp_path / "runs"), *more])
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"template": "i am"}, r"has 0 \[MASK\]"), ({"verbalizer": "anger=angry"}, 'no word for the label "happy"')],
)
def test_wrong_prompts_are_refused_before_anything_runs(
    data_bin: Path, tmp_path: Path, flags: dict[str, Any], message: str
) -> None:
    emotion = {"flags": {**OPTIMISER, "max_update": 6}, "setting_flags": {"pretrain_prompt": flags}}
    plan = write_plan(tmp_path, plan_values(data_bin, emotion=emotion))
    with pytest.raises(UserError, match=f"pretrain_prompt/.*{message}"):
        main([str(plan), "--dry-run"])


@pytest.mark.parametrize(
    ("where", "flags", "message"),
    [
        ("emotion", {"keep_pretrained": 0.5}, "direct_prompt/.*--keep-pretrained: this training starts from nothing"),
        ("emotion", {"keep_pretrained": 1.5}, "--keep-pretrained 1.5: give a share from 0 to below 1"),
        ("emotion", {"dropout": 1.5}, "emotion/.*--dropout 1.5: give a share"),
        ("pretraining", {"encoder_embed_dim": 10, "encoder_attention_heads": 3}, "pretraining/.*give a divisor of"),
        ("pretraining", {"encoder_layers": 0}, "pretraining/.*--encoder-layers 0: give a number of at least 1"),
        ("pretraining", {"encoder_layers": 3}, "encoder_layers is 1, and 3 in its pre-training; give .* under model"),
        ("model", {"arch": "memobert_large"}, "invalid choice: 'memobert_large' .choose from 'memobert"),
        ("mult", {"encoder_attention_heads": 3}, "emotion/mult/.*--encoder-attention-heads 3: give a divisor"),
    ],
)
def test_what_no_training_takes_is_refused_before_anything_runs(
    data_bin: Path, tmp_path: Path, where: str, flags: dict[str, Any], message: str
) -> None:
    values = plan_values(data_bin, settings=["pretrain_prompt", "direct_prompt", "mult"])
    values["emotion"]["setting_flags"] = {"mult": {}}
    of_place = {"model": values["model"], "mult": values["emotion"]["setting_flags"]["mult"]}
    (of_place[where] if where in of_place else values[where]["flags"]).update(flags)
    with pytest.raises(UserError, match=f"plan.yaml: .*{message}"):
        main([str(write_plan(tmp_path, values)), "--dry-run"])


def test_a_pretraining_on_voices_of_the_other_kind_is_refused_before_anything_runs(
    data_bin: Path, tmp_path: Path
) -> None:
    centered = make_data_bin(tmp_path, CorpusShape(speakers=3, utterances=10), center_speakers=True)
    values = plan_values(data_bin, settings=["pretrain_prompt"])
    values["pretraining"]["data"] = [str(data_bin), str(centered)]
    with pytest.raises(UserError, match=f"{centered}: no start for trainings on {data_bin}: .* data-bin's are not"):
        main([str(write_plan(tmp_path, values)), "--dry-run"])


@pytest.mark.slow
def test_a_sweep_with_a_grid_from_a_checkpoint_that_exists(data_bin: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from memobert_plugin.cli.sweep import cli_main; cli_main()"]
    first = write_plan(tmp_path, plan_values(data_bin, folds=[1], settings=["pretrain_prompt"]), "first.yaml")
    subprocess.run([*command, str(first), "--output", str(tmp_path / "first")], check=True, timeout=300)
    pretrained = next((tmp_path / "first" / "pretraining").rglob("checkpoint_best.pt"))
    values = grid_values(data_bin, settings=["direct", "pretrain_prompt"], pretraining={"checkpoint": str(pretrained)})
    values["emotion"]["budgets"] = "by_setting"
    second = write_plan(tmp_path, values, "second.yaml")
    subprocess.run([*command, str(second), "--output", str(tmp_path / "second")], check=True, timeout=300)
    run = tmp_path / "second" / DIRECT
    choice = json.loads((run / "choice.json").read_text())
    assert len(choice["validation"]) == 4 and choice["chosen"] in choice["candidates"]
    assert (run / "predictions" / "test-lva.jsonl").is_file() and not list((run / "grid").rglob("checkpoint*.pt"))
    assert not (tmp_path / "second" / "pretraining").exists()
    from memobert_plugin.cli.report import main as report

    assert report([str(tmp_path / "second"), "--out", str(tmp_path / "report"), "--no-pictures", "--no-floors"]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "4 trainings for each fold and seed, the best in validation taken" in page


RANGES = {
    "lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "dropout": {"low": 0.0, "high": 0.5},
    "batch_size": {"low": 4, "high": 16},
}


def test_draws_cover_their_ranges_and_follow_from_the_seed() -> None:
    flags = {"max_update": 6, **RANGES, "weight_decay": {"grid": [0.0, 0.1]}}
    drawn = candidates(flags, Search(400, 1))
    assert drawn == candidates(flags, Search(400, 1)) and drawn[:20] == candidates(flags, Search(20, 1))
    assert drawn[0] != candidates(flags, Search(400, 2))[0] and set(drawn[0]) == {*RANGES, "weight_decay"}
    rates = np.log10([one["lr"] for one in drawn])
    assert kstest((rates + 5) / 3, "uniform").pvalue > 0.01
    assert kstest([one["dropout"] / 0.5 for one in drawn], "uniform").pvalue > 0.01
    assert {one["batch_size"] for one in drawn} == set(range(4, 17))
    assert {one["weight_decay"] for one in drawn} == {0.0, 0.1}
    few = candidates({"batch_size": {"low": 1, "high": 3}}, Search(50, 1))
    assert sorted(one["batch_size"] for one in few) == [1, 2, 3]
    powers = [
        one["batch_size"] for one in candidates({"batch_size": {"low": 2, "high": 512, "log": True}}, Search(60, 1))
    ]
    assert all(isinstance(one, int) and 2 <= one <= 512 for one in powers) and min(powers) < 8 < 128 < max(powers)


@pytest.mark.parametrize(
    ("lr", "search", "message"),
    [
        ({"low": 1e-2, "high": 1e-4}, {"trials": 3}, "give low below high"),
        ({"low": 0, "high": 1, "log": True}, {"trials": 3}, "lr.low: is 0; a logarithmic range begins above 0"),
        ({"low": 1e-4, "high": 1e-2}, None, r"search: is missing, and lr has a range; give {trials: 20, seed: 1}"),
        (1e-3, {"trials": 3}, "search: has nothing to search"),
        ({"low": 1e-4, "high": 1e-2}, {"trials": 1}, "search.trials: is 1; give a whole number of at least 2"),
        ({"low": 1e-4, "high": 1e-2}, {"trials": 3, "budget": 1}, "search.budget: is no key here"),
        ({"low": 1e-4, "high": "x"}, {"trials": 3}, "give low below high"),
        ({"low": 1e-4, "high": math.inf}, {"trials": 3}, "give low below high, both finite"),
        ({"low": -1e308, "high": 1e308}, {"trials": 3}, "give low below high, both finite"),
        ({"low": 1, "high": 10**400}, {"trials": 3}, "give low below high, both finite"),
        ({"low": 1e-4, "high": 1e-2}, {"trials": 10**7}, "search.trials: is 10000000; give at most 1000"),
    ],
)
def test_a_wrong_search_is_refused_before_any_work(
    data_bin: Path, tmp_path: Path, lr: Any, search: dict[str, int] | None, message: str
) -> None:
    values = grid_values(data_bin, emotion={"flags": {**OPTIMISER, "max_update": 6, "lr": lr}})
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, {**values, **({"search": search} if search else {})})


SEARCH_BY_TPE = Search(25, 1, "tpe")


def run_by_tpe(folder: Path, flags: dict[str, Any], score: Callable[[dict[str, Any]], float]) -> list[dict[str, Any]]:
    """Fill the places of a run's candidates one after the other, as if each was trained to a score."""
    pytest.importorskip("optuna")
    folder.mkdir()
    tried = candidates(flags, SEARCH_BY_TPE)
    description = {"candidates": tried, "search": {"seed": 1, "space": flags}}
    (folder / "run.json").write_text(json.dumps(description))
    given: list[dict[str, Any]] = []
    with mock.patch.object(grid, "_score", lambda run, number: score(given[number - 1])):
        for one in tried:
            words = with_draws(folder, flag_arguments(one))
            values = {name: words[words.index(f"--{name.replace('_', '-')}") + 1] for name in flags}
            given.append({name: json.loads(value) for name, value in values.items()})
    return given


def test_tpe_goes_by_the_scores_and_a_resumed_run_has_the_same_values(tmp_path: Path) -> None:
    flags: dict[str, Any] = {**RANGES, "weight_decay": {"grid": [0.0, 0.1]}}

    def score(one: dict[str, Any]) -> float:
        return -abs(math.log10(one["lr"]) + 3) - one["weight_decay"] - abs(one["batch_size"] - 9) / 10

    given = run_by_tpe(tmp_path / "one", flags, score)
    assert given[:10] == candidates(flags, Search(10, 1)) and len(given) == 25
    scores = [score(one) for one in given]
    assert np.mean(scores[-10:]) > np.mean(scores[:10]) + 0.5
    for one in given:
        for name in RANGES:
            assert flags[name]["low"] <= one[name] <= flags[name]["high"]
        assert isinstance(one["batch_size"], int) and one["weight_decay"] in (0.0, 0.1)
    assert run_by_tpe(tmp_path / "two", flags, score) == given
    other = run_by_tpe(tmp_path / "three", flags, lambda one: -score(one))
    assert other[:10] == given[:10] and other[10:] != given[10:]
    with mock.patch.object(grid, "_ask", side_effect=AssertionError("asked again")):
        words = with_draws(tmp_path / "one", ("fairseq-train", "--lr", "{tpe:20:lr}"))
    assert words == ("fairseq-train", "--lr", str(given[19]["lr"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotion": {"lr": RANGES["lr"], "cpu_offload": {"grid": [True, False]}}}, "no grid of true and false"),
        ({"pretraining": {"lr": RANGES["lr"]}}, "knows no values before a run begins"),
        ({"emotion": {"lr": RANGES["lr"]}, "sampler": "grid"}, "search.sampler: is 'grid'; give one of random, tpe"),
    ],
)
def test_what_tpe_cannot_search_is_refused(
    data_bin: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    values = plan_values(data_bin)
    for section in ("emotion", "pretraining"):
        values[section]["flags"] = {**values[section]["flags"], **changes.get(section, {})}
    values["search"] = {"trials": 12, "sampler": changes.get("sampler", "tpe")}
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, values)


def test_tpe_without_optuna_is_refused_before_any_work(data_bin: Path, tmp_path: Path) -> None:
    values = plan_values(data_bin, search={"trials": 12, "sampler": "tpe"})
    values["emotion"]["flags"]["lr"] = RANGES["lr"]
    with mock.patch.dict(sys.modules, {"optuna": None}), pytest.raises(UserError, match="Optuna is not installed"):
        plan_of(tmp_path, values)


@pytest.mark.slow
def test_a_sweep_searches_by_tpe_and_its_report_says_so(data_bin: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    emotion = {"flags": {**OPTIMISER, "max_update": 3, "lr_scheduler": "fixed", "lr": RANGES["lr"]}}
    values = grid_values(data_bin, emotion=emotion, search={"trials": 12, "sampler": "tpe"}, folds=[1])
    plan, output = str(write_plan(tmp_path, values)), tmp_path / "runs"
    assert main([plan, "--dry-run"]) == 0
    assert main([plan, "--output", str(output)]) == 0
    run = output / DIRECT
    draws, choice = (json.loads((run / name).read_text()) for name in ("draws.json", "choice.json"))
    assert set(draws) == {"11", "12"} and choice["candidates"][10:] == list(draws.values())
    assert choice["chosen"] == choice["candidates"][int(np.argmax(choice["validation"]))]
    assert report([str(output), "--out", str(tmp_path / "report"), "--no-pictures", "--no-floors"]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "12 trainings of a search by TPE (Optuna; the first 10 at random; seed 1; lr 1e-05 to 0.01" in page


@pytest.mark.slow
def test_a_search_selects_in_validation_and_the_report_names_its_budget(data_bin: Path, tmp_path: Path) -> None:
    emotion = {"flags": {**OPTIMISER, "max_update": 6, "lr_scheduler": "fixed", "lr": RANGES["lr"]}}
    values = grid_values(data_bin, emotion=emotion, search={"trials": 3, "seed": 7}, folds=[1, 2])
    output = tmp_path / "runs"
    assert main([str(write_plan(tmp_path, values)), "--output", str(output)]) == 0
    run = output / DIRECT
    description, choice = (json.loads((run / name).read_text()) for name in ("run.json", "choice.json"))
    assert description["budget"]["lr"] == "1e-05 to 0.01, logarithmic" and len(description["candidates"]) == 3
    scores = choice["validation"]
    assert choice["chosen"] == description["candidates"][scores.index(max(scores))]
    assert report([str(output), "--out", str(tmp_path / "report"), "--no-pictures", "--no-floors"]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "3 trainings of a random search (seed 7; lr 1e-05 to 0.01, logarithmic) for each fold and seed" in page
