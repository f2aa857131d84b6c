"""A setting's seeds answer together: the mean of their probabilities, as numpy has it from the same files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from memobert_plugin.cli.report import main
from memobert_plugin.core.errors import UserError
from tests.evaluation.sweeps import LABELS, write_grid, write_lines

FOLDS, SEEDS = (1, 2, 3), (1, 2, 3)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_of(root: Path, setting: str, fold: int) -> list[Path]:
    return sorted((root / "emotion" / f"{setting}-lva").glob(f"full/fraction100/fold{fold:02d}/*/predictions/*.jsonl"))


def rows_of(out: Path, stem: str = "table2_settings") -> dict[str, dict[str, str]]:
    with open(out / f"{stem}.csv", encoding="utf-8", newline="") as stream:
        return {row["setting"]: row for row in csv.DictReader(stream)}


def report(root: Path, *flags: str) -> Path:
    out = root.parent / "report"
    assert (
        main([str(root), "--out", str(out), "--ensembles", "--no-floors", "--no-pictures", "--overwrite", *flags]) == 0
    )
    return out


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three seeds of two settings; their probabilities are drawn, so that a mean has no ties."""
    root = write_grid(tmp_path / "runs", ("direct", "pretrain_prompt"), FOLDS, SEEDS)
    rng = np.random.default_rng(0)
    for path in sorted(root.rglob("*.jsonl")):
        lines = lines_of(path)
        for line in lines:
            shares = rng.dirichlet(np.where(np.array(LABELS) == line["label"], 2.0, 1.0))
            line["probabilities"] = dict(zip(LABELS, shares.tolist(), strict=True))
            line["prediction"] = LABELS[int(shares.argmax())]
        write_lines(path, lines)
    return root


def test_an_ensemble_answers_with_the_mean_of_the_seeds_probabilities(sweep: Path) -> None:
    rows = rows_of(report(sweep))
    assert list(rows) == ["direct", "direct@ensemble", "pretrain_prompt", "pretrain_prompt@ensemble"]
    for setting in ("direct", "pretrain_prompt"):
        by_fold, single = [], []
        for fold in FOLDS:
            seeds = [lines_of(path) for path in files_of(sweep, setting, fold)]
            shares = np.mean([[list(line["probabilities"].values()) for line in lines] for lines in seeds], axis=0)
            truth = [line["label"] for line in seeds[0]]
            by_fold.append(balanced_accuracy_score(truth, [LABELS[index] for index in shares.argmax(axis=1)]))
            single += [balanced_accuracy_score(truth, [line["prediction"] for line in lines]) for lines in seeds]
        assert len(single) == len(FOLDS) * len(SEEDS)
        assert float(rows[f"{setting}@ensemble"]["uar"]) == pytest.approx(100 * np.mean(by_fold))
        assert rows[f"{setting}@ensemble"]["uar_sd_seeds"] == ""
        assert float(rows[setting]["uar"]) == pytest.approx(100 * np.mean(single))


def test_lines_in_another_order_give_the_same_ensemble(sweep: Path) -> None:
    expected = rows_of(report(sweep))
    path = files_of(sweep, "direct", 2)[1]
    write_lines(path, lines_of(path)[::-1])
    assert rows_of(report(sweep)) == expected


def test_ensembles_are_tested_against_each_other_and_their_own_setting(sweep: Path) -> None:
    table = (report(sweep) / "table2_tests.md").read_text(encoding="utf-8")
    compared = [line.split("|")[1].strip() for line in table.splitlines() if " − " in line]
    assert compared == [
        "Direct, ensemble of 3 seeds − Direct",
        "Pretrain+Prompt − Direct",
        "Pretrain+Prompt, ensemble of 3 seeds − Direct, ensemble of 3 seeds",
        "Pretrain+Prompt, ensemble of 3 seeds − Pretrain+Prompt",
    ]


def test_a_chosen_setting_keeps_its_ensemble(sweep: Path) -> None:
    assert list(rows_of(report(sweep, "--settings", "pretrain_prompt"))) == [
        "pretrain_prompt",
        "pretrain_prompt@ensemble",
    ]


NO_ENSEMBLE = "--ensembles: no setting has probabilities of two seeds on all labels"


def test_seeds_that_draw_their_own_labels_have_no_ensemble(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_grid(sweep, ("direct", "pretrain_prompt"), FOLDS, SEEDS, fraction=0.1)
    report(sweep)
    assert "ensemble" not in (sweep.parent / "report" / "figure3_train_fraction.md").read_text(encoding="utf-8")
    assert NO_ENSEMBLE not in capsys.readouterr().err
    report(write_grid(sweep.parent / "few", ("direct",), FOLDS, SEEDS, fraction=0.1))
    assert NO_ENSEMBLE in capsys.readouterr().err


def test_one_seed_or_a_system_without_probabilities_has_no_ensemble(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sweep.rglob("direct-lva/**/*.jsonl"):
        write_lines(path, [{key: line[key] for key in line if key != "probabilities"} for line in lines_of(path)])
    assert list(rows_of(report(sweep))) == ["direct", "pretrain_prompt", "pretrain_prompt@ensemble"]
    assert NO_ENSEMBLE not in capsys.readouterr().err
    assert list(rows_of(report(write_grid(sweep.parent / "one", ("direct",), FOLDS, (1,))))) == ["direct"]
    assert NO_ENSEMBLE in capsys.readouterr().err


def test_seeds_that_tested_other_utterances_are_refused(sweep: Path) -> None:
    path = files_of(sweep, "direct", 1)[2]
    write_lines(path, lines_of(path)[1:])
    with pytest.raises(UserError, match=r"seed3/.*: lacks Ses01_000, which other seeds have"):
        report(sweep)


def test_the_first_seed_alone_lacks_an_utterance(sweep: Path) -> None:
    path = files_of(sweep, "direct", 1)[0]
    write_lines(path, lines_of(path)[1:])
    with pytest.raises(UserError, match=r"seed1/.*: lacks Ses01_000, which other seeds have"):
        report(sweep, "--settings", "direct@ensemble")


@pytest.mark.parametrize(
    "probabilities",
    [
        {},
        {"anger": 1.0},
        {**dict.fromkeys(LABELS, 0.2), "joy": 0.2},
        {**dict.fromkeys(LABELS, 0.3), "sad": None},
        {**dict.fromkeys(LABELS, 0.3), "sad": float("nan")},
    ],
)
def test_an_answer_without_a_number_for_each_label_is_named(sweep: Path, probabilities: dict[str, Any]) -> None:
    path = files_of(sweep, "direct", 2)[1]
    lines = lines_of(path)
    lines[3]["probabilities"] = probabilities
    write_lines(path, lines)
    with pytest.raises(UserError, match=r"fold02/seed2/.*, row 4: needs a finite number for each of anger, happy"):
        report(sweep)


def test_an_untrained_setting_has_no_budget_as_an_ensemble_either(tmp_path: Path) -> None:
    root = write_grid(tmp_path / "runs", ("zero_shot", "pretrain_prompt"), FOLDS, SEEDS)
    assert [name for name in rows_of(report(root)) if "zero" in name] == ["zero_shot", "zero_shot@ensemble"]


def test_every_modality_case_that_seeds_answered_has_an_ensemble(tmp_path: Path) -> None:
    root = write_grid(tmp_path / "runs", ("direct",), FOLDS, SEEDS, cases=("lva", "va"))
    with open(report(root) / "modality_cases.csv", encoding="utf-8", newline="") as stream:
        cases = [(row["setting"], row["test_modalities"]) for row in csv.DictReader(stream)]
    assert cases == [(name, case) for name in ("direct", "direct@ensemble") for case in ("lva", "va")]


def test_folds_with_fewer_seeds_are_told_in_the_row(sweep: Path) -> None:
    shutil.rmtree(files_of(sweep, "direct", 2)[1].parents[1])
    table = (report(sweep, "--partial") / "table2_settings.md").read_text(encoding="utf-8")
    assert "Direct, ensemble of 2 to 3 seeds" in table and "Pretrain+Prompt, ensemble of 3 seeds" in table


def test_only_what_is_reported_is_averaged(sweep: Path) -> None:
    other = {"path": "data-bin/other", "name": "other", "sha256": "cd" * 32}
    write_grid(sweep / "other", ("direct",), FOLDS, (1,), corpus=other)
    assert list(rows_of(report(sweep, "--corpus", "other"))) == ["direct"]
    path = files_of(sweep, "pretrain_prompt", 1)[0]
    write_lines(path, lines_of(path)[1:])
    assert list(rows_of(report(sweep, "--corpus", "toy", "--settings", "direct"))) == ["direct", "direct@ensemble"]


def test_ensembles_of_numbers_are_tested_as_those_of_emotions(tmp_path: Path) -> None:
    root = write_grid(
        tmp_path / "runs", ("direct", "pretrain_prompt"), FOLDS, SEEDS, target="dimensions", labels=["valence"]
    )
    rng = np.random.default_rng(0)
    for path in sorted(root.rglob("*.jsonl")):
        lines = lines_of(path)
        for number, line in enumerate(lines):
            line.pop("probabilities")
            line |= {"label": {"valence": number % 5}, "prediction": {"valence": number % 5 + rng.normal()}}
        write_lines(path, lines)
    table = (report(root) / "table2_tests.md").read_text(encoding="utf-8")
    assert table.count(" − ") == 4 and "Pretrain+Prompt − Direct, ensemble" not in table


def test_a_sweep_cannot_be_called_as_the_ensembles_are(sweep: Path) -> None:
    with pytest.raises(UserError, match="the rows of --ensembles have this name; choose another"):
        main([f"ensemble={sweep}", "--out", str(sweep.parent / "report")])
