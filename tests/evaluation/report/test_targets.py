"""Reports of numbers and of several labels: scores, intervals, floors, tests, and files of other tools."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import average_precision_score, f1_score

from memobert_plugin.cli.report import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.folds import folds_of
from memobert_plugin.data.targets import Target, target_of
from tests.data_bins import CorpusShape, make_data_bin
from tests.evaluation.sweeps import write_lines, write_run

NAMES = {"dimensions": ("valence", "arousal"), "several": ("anger", "happy", "neutral", "sad")}


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = CorpusShape(speakers=4, utterances=30, dimensions=True, several=True)
    return make_data_bin(tmp_path_factory.mktemp("corpus"), shape)


def answers_of(target: Target, truth: np.ndarray, noise: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    if target.kind == "dimensions":
        return [target.line(row, (row + rng.normal(0, noise, len(row))).tolist()) for row in truth]
    shares = np.clip(0.5 + (truth - 0.5) * 0.6 + rng.normal(0, noise, truth.shape), 0, 1)
    return [target.line(row, share.tolist()) for row, share in zip(truth, shares, strict=True)]


def write_sweep(root: Path, data_bin: Path, kind: str) -> dict[str, list[list[dict[str, Any]]]]:
    """Runs of two settings, of which the first is nearer to the truth; return their lines by fold."""
    corpus, rng = Corpus(data_bin), np.random.default_rng(0)
    target = target_of(corpus, kind, NAMES[kind])
    labelled = target.known(corpus, np.arange(len(corpus)))
    told: dict[str, Any] = {
        "corpus": {"path": str(data_bin), "name": "toy", "sha256": corpus.sha256()},
        "labels": list(NAMES[kind]),
    }
    name = "ccc" if kind == "dimensions" else "map"
    log = "".join(
        f'x | INFO | valid | {{"epoch": {epoch}, "valid_{name}": "{value}", "valid_num_updates": "{epoch}"}}\n'
        for epoch, value in enumerate((0.25, 0.75, 0.5), start=1)
    )
    written: dict[str, list[list[dict[str, Any]]]] = {"direct": [], "early_fusion": []}
    for fold in folds_of(corpus, labelled, "speakers", "strict"):
        rows = fold.rows(corpus, "test")
        rows = rows[labelled[rows]]
        truth = target.values(corpus, rows)
        for setting, noise in (("direct", 0.2), ("early_fusion", 0.9)):
            folder = write_run(root, setting, fold.number, 1, test_speaker=fold.test, target=kind, log=log, **told)
            place = {"speaker": fold.test, "fold": fold.number}
            lines = [
                {"id": corpus.utterance_id(row), **place, **answer}
                for row, answer in zip(rows, answers_of(target, truth, noise, rng), strict=True)
            ]
            write_lines(folder / "predictions" / "test-lva.jsonl", lines)
            written[setting].append(lines)
    return written


def table(folder: Path, name: str = "table2_settings") -> dict[str, dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as stream:
        return {row.get("setting") or row["first"]: row for row in csv.DictReader(stream)}


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def of_numbers(lines: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, Any] = {}
    for name in NAMES["dimensions"]:
        x, y = (np.array([line[key][name] for line in lines]) for key in ("label", "prediction"))
        found[f"ccc_{name}"], found[f"pearson_{name}"] = ccc(x, y), pearsonr(x, y).statistic
        found[f"rmse_{name}"] = np.sqrt(np.mean((x - y) ** 2))
    for metric in ("ccc", "pearson", "rmse"):
        found[metric] = np.mean([found[f"{metric}_{name}"] for name in NAMES["dimensions"]])
    return found


def of_labels(lines: list[dict[str, Any]]) -> dict[str, float]:
    names = NAMES["several"]
    truth, given = (
        np.array([[name in one[key] for name in names] for one in lines]) for key in ("label", "prediction")
    )
    shares = np.array([[line["probabilities"][name] for name in names] for line in lines])
    found = {f"{one}_f1": f1_score(truth, given, average=one, zero_division=0) for one in ("macro", "micro")}
    found["map"] = average_precision_score(truth, shares, average="macro")
    return {name: 100 * value for name, value in found.items()}


@pytest.mark.parametrize(("kind", "scores"), [("dimensions", of_numbers), ("several", of_labels)])
def test_scores_are_means_over_folds_beside_intervals_tests_and_floors(
    data_bin: Path, tmp_path: Path, kind: str, scores: Callable[[list[dict[str, Any]]], dict[str, float]]
) -> None:
    written = write_sweep(tmp_path / "runs", data_bin, kind)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    found = table(tmp_path / "report")
    lead = "ccc" if kind == "dimensions" else "macro_f1"
    for setting, folds in written.items():
        of_folds = [scores(lines) for lines in folds]
        for name in of_folds[0]:
            expected = np.mean([one[name] for one in of_folds])
            assert float(found[setting][name]) == pytest.approx(expected, abs=1e-6), name
        assert (
            float(found[setting][f"{lead}_low"]) < float(found[setting][lead]) < float(found[setting][f"{lead}_high"])
        )
        assert "map_low" not in found[setting]
    floors = {name: float(row[lead]) for name, row in found.items() if name.startswith("floor_")}
    assert set(floors) == {f"floor_{name}" for name in ("chance", "majority", "text", "visual", "acoustic", "all")}
    assert floors["floor_all"] > floors["floor_chance"] and floors["floor_all"] > floors["floor_majority"]
    tests = table(tmp_path / "report", "table2_tests")
    assert set(tests) == {"direct", "early_fusion"}  # two settings and the regression on all streams
    gap = table(tmp_path / "report", "selection_gap")["direct"]
    metric = "ccc" if kind == "dimensions" else "map"
    assert float(gap[f"selected_{metric}"]) == pytest.approx(0.75)
    assert float(gap[f"tested_{metric}"]) == pytest.approx(float(found["direct"][metric]), abs=1e-6)
    page = (tmp_path / "report" / "index.html").read_text()
    assert ("Lin 1989" in page) == (kind == "dimensions") and "confusion" not in page


@pytest.mark.parametrize("kind", ["dimensions", "several"])
def test_shares_of_data_modality_cases_and_ablations_have_tables_and_pictures(
    data_bin: Path, tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "runs"
    write_sweep(root, data_bin, kind)
    for path in sorted(root.rglob("direct-lva/full/fraction100/*/seed1")):
        run = json.loads((path / "run.json").read_text())
        lines = [json.loads(line) for line in (path / "predictions/test-lva.jsonl").read_text().splitlines()]
        run["predictions"]["v"] = "predictions/test-v.jsonl"
        (path / "run.json").write_text(json.dumps(run))
        write_lines(path / "predictions" / "test-v.jsonl", lines)
        told = {key: run[key] for key in ("corpus", "labels", "target", "test_speaker")}
        for changes in ({"fraction": 0.1}, {"ablation": "no_visual"}):
            other = write_run(root, "direct", run["fold"], 1, **changes, **told)
            write_lines(other / "predictions" / "test-lva.jsonl", lines)
    out = tmp_path / "report"
    assert main([str(root), "--out", str(out), "--no-floors"]) == 0
    expected = table(out)["direct"]
    lead = "ccc" if kind == "dimensions" else "macro_f1"
    for name in ("figure3_train_fraction", "modality_cases", "table3_ablations"):
        assert float(table(out, name)["direct"][lead]) == pytest.approx(float(expected[lead]))
    pictures = {f"{name}.png" for name in ("figure3_train_fraction", "modality_cases")}
    assert pictures <= {one.name for one in out.iterdir()}
    tests = table(out, "table3_tests")["direct"]
    assert tests["second_ablation"] == "no_visual" and float(tests[f"{lead}_difference"]) == pytest.approx(0)
    assert "10 %" in (out / "figure3_train_fraction.md").read_text()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("kind", ["dimensions", "several"])
def test_predictions_of_other_tools_stand_beside_the_runs(data_bin: Path, tmp_path: Path, kind: str, form: str) -> None:
    written = write_sweep(tmp_path / "runs", data_bin, kind)
    lines = [line for fold in written["direct"] for line in fold]
    key, prefix = ("prediction", "") if kind == "dimensions" else ("probabilities", "p_")
    path = tmp_path / f"tool.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"id": line["id"], key: line[key]}) + "\n" for line in lines))
    else:
        with open(path, "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", *(f"{prefix}{name}" for name in NAMES[kind])])
            writer.writerows([line["id"], *(line[key][name] for name in NAMES[kind])] for line in lines)
    out = tmp_path / "report"
    assert main([str(tmp_path / "runs"), str(path), "--out", str(out), "--no-floors"]) == 0
    found = table(out)
    lead = "ccc" if kind == "dimensions" else "map"
    assert float(found["given_tool"][lead]) == pytest.approx(float(found["direct"][lead]), abs=1e-6)
    if form == "jsonl":  # whole lines need no runs
        whole = tmp_path / "whole.jsonl"
        write_lines(whole, lines)
        assert main([str(whole), "--out", str(tmp_path / "alone"), "--no-pictures"]) == 0
        alone = table(tmp_path / "alone")
        assert float(alone["given_whole"][lead]) == pytest.approx(float(found["direct"][lead]), abs=1e-6)


def test_runs_of_two_targets_and_broken_lines_are_refused(data_bin: Path, tmp_path: Path) -> None:
    write_sweep(tmp_path / "numbers", data_bin, "dimensions")
    write_sweep(tmp_path / "labels", data_bin, "several")
    with pytest.raises(UserError, match=r"runs that cannot be compared in one table. .*target differs"):
        main([f"a={tmp_path / 'numbers'}", f"b={tmp_path / 'labels'}", "--out", str(tmp_path / "x"), "--no-floors"])
    path = next((tmp_path / "numbers").rglob("test-lva.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [{**lines[0], "prediction": {"valence": 1.0}}, *lines[1:]])
    with pytest.raises(UserError, match=r"test-lva.jsonl:1: no label and prediction of valence, arousal"):
        main([str(tmp_path / "numbers"), "--out", str(tmp_path / "x"), "--no-floors"])


@pytest.mark.parametrize("value", ["high", "NaN"])
def test_a_given_line_without_numbers_is_named_by_its_own_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps({"id": "a", "label": {"valence": value}, "prediction": {"valence": 1.0}}) + "\n")
    with pytest.raises(UserError, match=r"theirs\.jsonl.* needs label and prediction, a finite number for each name"):
        main([str(path), "--out", str(tmp_path / "report")])


def test_predictions_of_different_kinds_are_refused_by_their_own_files(tmp_path: Path) -> None:
    emotion: dict[str, Any] = {"id": "a", "speaker": "s", "label": "happy", "prediction": "sad"}
    numbers: dict[str, Any] = {"id": "b", "speaker": "s", "label": {"valence": 0.1}, "prediction": {"valence": 0.2}}
    paths = [tmp_path / name for name in ("ours.jsonl", "theirs.jsonl", "both.jsonl")]
    for path, lines in zip(paths, ([emotion], [numbers], [emotion, numbers]), strict=True):
        write_lines(path, lines)
    flags = ["--out", str(tmp_path / "report"), "--no-floors", "--no-pictures"]
    with pytest.raises(UserError, match=r"theirs\.jsonl: predicts numbers, and ours one emotion of several; report"):
        main([str(paths[0]), str(paths[1]), *flags])
    with pytest.raises(UserError, match=r"both\.jsonl: has predictions of one emotion of several and of numbers"):
        main([str(paths[2]), *flags])
