"""The tables of a report are what an independent script computes from the same files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from memobert_plugin.evaluation.report.report import FILE_NAMES, Choices, build_report
from memobert_plugin.evaluation.report.runs import find_runs
from tests.evaluation.sweeps import LABELS, emotion_log, write_grid, write_pretraining, write_run

FOLDS, SEEDS = (1, 2, 3, 4, 5), (1, 2, 3)
SKLEARN = {
    "wa": accuracy_score,
    "uar": balanced_accuracy_score,
    "wf1": lambda labels, predictions: f1_score(labels, predictions, average="weighted"),
    "macro_f1": lambda labels, predictions: f1_score(labels, predictions, average="macro"),
}


def files_of(*folders: Path, **choices: Any) -> dict[str, str]:
    """A report's text files."""
    files = build_report(*find_runs(folders), Choices(**{"pictures": False, **choices})).files()
    return {name: content.decode("utf-8") for name, content in files.items() if not name.endswith("png")}


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def decisions(root: Path, setting: str, fold: int, seed: int, where: str = "full/fraction100") -> tuple[list[str], ...]:
    """Labels and predictions of one run, read without the package."""
    folder = root / "emotion" / f"{setting}-lva" / where / f"fold{fold:02d}" / f"seed{seed}"
    lines = [json.loads(line) for line in (folder / "predictions" / "test-lva.jsonl").read_text().splitlines()]
    return [line["label"] for line in lines], [line["prediction"] for line in lines]


def scores_by_hand(root: Path, setting: str, metric: str, where: str = "full/fraction100") -> np.ndarray:
    """(folds, seeds) by scikit-learn."""
    return np.array(
        [[SKLEARN[metric](*decisions(root, setting, fold, seed, where)) for seed in SEEDS] for fold in FOLDS]
    )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sweep")
    for fraction in (0.1, 0.5, 1.0):
        write_grid(root, ("direct", "pretrain_prompt"), FOLDS, SEEDS, fraction=fraction, log=emotion_log(3))
    for ablation in ("no_visual", "no_acoustic"):
        write_grid(root, ("pretrain_prompt",), FOLDS, SEEDS, ablation=ablation)
    cases = ("lva", "lv", "la", "va", "l", "v", "a")
    write_grid(root, ("pretrain_prompt",), FOLDS, SEEDS, cases=cases, modality_mixture=True)
    write_pretraining(root)
    return root


@pytest.fixture(scope="module")
def report(sweep: Path) -> dict[str, str]:
    return files_of(sweep)


def test_table_2_agrees_with_scikit_learn(sweep: Path, report: dict[str, str]) -> None:
    rows = {(row["setting"], row["modality_mixture"]): row for row in records(report["table2_settings.csv"])}
    assert list(rows) == [("direct", "no"), ("pretrain_prompt", "no"), ("pretrain_prompt", "yes")]
    for setting in ("direct", "pretrain_prompt"):
        for metric in SKLEARN:
            row, grid = rows[setting, "no"], 100 * scores_by_hand(sweep, setting, metric)
            assert float(row[metric]) == pytest.approx(grid.mean(axis=0).mean())
            assert float(row[f"{metric}_sd_folds"]) == pytest.approx(grid.mean(axis=1).std(ddof=1))
            assert float(row[f"{metric}_sd_seeds"]) == pytest.approx(grid.mean(axis=0).std(ddof=1))


def test_intervals_agree_with_a_plain_bootstrap_over_speakers(sweep: Path, report: dict[str, str]) -> None:
    speakers = scores_by_hand(sweep, "direct", "uar").mean(axis=1)
    draws = np.random.default_rng(5).choice(speakers, (20_000, len(speakers))).mean(axis=1)
    tail = stats.norm.cdf(np.sqrt(5 / 4) * stats.t.ppf(0.025, 4))
    row = records(report["table2_settings.csv"])[0]
    assert float(row["uar_low"]) == pytest.approx(100 * np.quantile(draws, tail), abs=0.8)
    assert float(row["uar_high"]) == pytest.approx(100 * np.quantile(draws, 1 - tail), abs=0.8)


def test_paired_tests_agree_with_scipy(sweep: Path, report: dict[str, str]) -> None:
    rows = records(report["table2_tests.csv"])
    assert len(rows) == 3
    row = rows[0]
    assert (row["first"], row["second"]) == ("pretrain_prompt", "direct")
    sides = [scores_by_hand(sweep, setting, "uar").mean(axis=1) for setting in ("pretrain_prompt", "direct")]
    theirs = stats.permutation_test(
        sides, lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=10_000
    )
    assert float(row["p"]) == pytest.approx(theirs.pvalue)
    assert float(row["uar_difference"]) == pytest.approx(100 * theirs.statistic)
    assert float(row["p_holm"]) == max(min(1, 3 * float(row["p"])), float(row["p_holm"]))
    assert "cannot show any difference to be significant" in report["table2_tests.md"]


def test_a_pair_with_one_common_speaker_takes_no_test_from_the_others(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct", "pretrain_prompt"), FOLDS, (1,))
    whole = records(files_of(tmp_path)["table2_tests.csv"])
    write_grid(tmp_path, ("bert_finetune",), FOLDS[:1], (1,))
    report = files_of(tmp_path, partial=True)
    rows = {(row["first"], row["second"]): row for row in records(report["table2_tests.csv"])}
    assert len(rows) == 3
    pair = rows["pretrain_prompt", "direct"]
    assert (pair["p"], pair["p_holm"]) == (whole[0]["p"], whole[0]["p_holm"])
    assert rows["pretrain_prompt", "bert_finetune"]["p"] in ("", "nan")
    assert "there is no test with a single test speaker" in report["table2_tests.md"]


def test_table_3_compares_the_full_model_with_each_ablation(sweep: Path, report: dict[str, str]) -> None:
    rows = {row["ablation"]: row for row in records(report["table3_ablations.csv"])}
    assert list(rows) == ["full", "no_acoustic", "no_visual"]
    expected = scores_by_hand(sweep, "pretrain_prompt", "uar", "no_visual/fraction100").mean()
    assert float(rows["no_visual"]["uar"]) == pytest.approx(100 * expected)
    tests = records(report["table3_tests.csv"])
    assert [(row["first_ablation"], row["second_ablation"]) for row in tests] == [
        ("full", "no_acoustic"),
        ("full", "no_visual"),
    ]


def test_figure_3_has_every_share_of_every_setting_that_has_several(sweep: Path, report: dict[str, str]) -> None:
    rows = records(report["figure3_train_fraction.csv"])
    assert {row["modality_mixture"] for row in rows} == {"no"}
    places = {(row["setting"], float(row["train_fraction"])): float(row["uar"]) for row in rows}
    assert len(places) == 6
    expected = scores_by_hand(sweep, "direct", "uar", "full/fraction10").mean()
    assert places["direct", 0.1] == pytest.approx(100 * expected)


def test_settings_are_tested_at_the_smallest_share_too(sweep: Path, report: dict[str, str]) -> None:
    rows = records(report["figure3_tests.csv"])
    row = next(row for row in rows if (row["first"], row["second"]) == ("pretrain_prompt", "direct"))
    sides = [
        scores_by_hand(sweep, setting, "uar", "full/fraction10").mean(axis=1)
        for setting in ("pretrain_prompt", "direct")
    ]
    assert float(row["uar_difference"]) == pytest.approx(100 * np.mean(sides[0] - sides[1]))
    assert "paired tests" in report["figure3_tests.md"] and "10 % of the training data" in report["figure3_tests.md"]


def test_confusion_counts_agree_with_scikit_learn(sweep: Path, report: dict[str, str]) -> None:
    runs = [decisions(sweep, "direct", fold, seed) for fold in FOLDS for seed in SEEDS]
    labels, predictions = ([name for run in runs for name in run[side]] for side in (0, 1))
    expected = confusion_matrix(labels, predictions, labels=LABELS)
    cells = [row for row in records(report["confusion.csv"]) if row["setting"] == "direct"]
    found = {(row["label"], row["prediction"]): int(row["count"]) for row in cells}
    assert [[found[label, prediction] for prediction in LABELS] for label in LABELS] == expected.tolist()


def test_modality_cases_have_a_row_per_training_and_a_column_per_case(report: dict[str, str]) -> None:
    mixture = [row for row in records(report["modality_cases.csv"]) if row["modality_mixture"] == "yes"]
    assert [row["test_modalities"] for row in mixture] == ["lva", "lv", "la", "va", "l", "v", "a"]
    assert float(mixture[0]["uar"]) > float(mixture[-1]["uar"])
    assert "Pretrain+Prompt, modality mixture" in report["modality_cases.md"]


def test_models_trained_on_each_case_share_a_row(tmp_path: Path) -> None:
    for case in ("lva", "v", "a"):
        write_grid(tmp_path, ("direct",), cases=(case,), train_modalities=case)
    table = files_of(tmp_path)["modality_cases.md"]
    (row,) = [line for line in table.splitlines() if line.startswith("| Direct, trained on each case")]
    assert [bool(cell.strip()) for cell in row.split("|")[2:-1]] == [True, False, False, False, False, True, True]


def test_decisions_over_the_full_vocabulary_have_a_row_of_their_own(tmp_path: Path) -> None:
    write_grid(tmp_path, ("pretrain_prompt",), vocabulary=True)
    rows = records(files_of(tmp_path)["table2_settings.csv"])
    assert [row["decision"] for row in rows] == ["label words", "full vocabulary"]
    assert float(rows[1]["uar"]) < float(rows[0]["uar"])


def test_curves_are_those_of_the_logs(report: dict[str, str]) -> None:
    rows = records(report["training_curves.csv"])
    chosen = [row for row in rows if (row["subset"], row["metric"]) == ("valid", "uar")]
    assert {(row["epoch"], row["updates"], row["value"]) for row in chosen} == {
        ("1", "10", "29.0"),
        ("2", "20", "30.0"),
        ("3", "30", "31.0"),
    }
    assert {row["metric"] for row in records(report["pretraining_curves.csv"])} == {
        "wwmlm_loss",
        "mvfr_loss",
        "mafr_loss",
    }


def test_the_names_of_all_files_are_known(sweep: Path) -> None:
    pytest.importorskip("matplotlib")
    emotion, pretraining = find_runs([sweep])
    names = set(build_report(emotion, pretraining, Choices()).files())
    assert names == {name for name in FILE_NAMES if not name.startswith("parts.")}  # these runs have no parts


@pytest.mark.parametrize(("name", "wa"), [("IEMOCAP", "74.64"), ("msp_improv", "67.17")])
def test_published_numbers_stand_beside_ours_for_the_same_corpus_only(tmp_path: Path, name: str, wa: str) -> None:
    write_grid(tmp_path / "known", ("direct",), corpus={"path": "", "name": name, "sha256": "0"})
    write_grid(tmp_path / "other", ("direct",))
    known, other = (files_of(tmp_path / part)["table2_settings.md"] for part in ("known", "other"))
    assert wa in known and "MMIN" in known and "best on the test speaker" in known
    assert "published" not in other and "MMIN" not in other


def test_settings_stand_in_the_order_asked_for(tmp_path: Path) -> None:
    write_grid(tmp_path, ("direct", "mult", "pretrain_prompt"))
    rows = records(files_of(tmp_path, settings=("pretrain_prompt", "direct"))["table2_settings.csv"])
    assert [row["setting"] for row in rows] == ["pretrain_prompt", "direct"]


def test_the_manifests_own_split_is_a_fold_of_many_speakers(tmp_path: Path) -> None:
    for setting in ("direct", "pretrain_prompt"):
        folder = write_run(tmp_path, setting, 0, test_speaker="")
        path = folder / "predictions" / "test-lva.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines):
            line["speaker"] = f"Spk{number % 6}"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (row, _) = records(files_of(tmp_path)["table2_settings.csv"])
    assert (row["folds"], row["speakers"]) == ("1", "6")
    assert float(row["uar_low"]) < float(row["uar"]) < float(row["uar_high"])
