"""Floors and predictions from files stand in the tables of a report like runs of a sweep."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memobert_plugin.cli.report import main
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.folds import folds_of
from tests.data_bins import CorpusShape, make_data_bin
from tests.evaluation.sweeps import LABELS, write_lines, write_run

FOLDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=30))


def write_sweep(root: Path, data_bin: Path, settings: tuple[str, ...] = ("direct",), **changes: Any) -> Path:
    """Runs whose predictions are the data-bin's utterances, a third of them wrong."""
    corpus = Corpus(data_bin)
    labelled = corpus.emotion >= 0
    told = {"corpus": {"path": str(data_bin), "name": "toy", "sha256": corpus.sha256()}, **changes}
    for fold in folds_of(corpus, labelled, "speakers", "strict"):
        for setting in settings:
            folder = write_run(root, setting, fold.number, 1, test_speaker=fold.test, **told)
            lines = []
            for number, row in enumerate(fold.rows(corpus, "test").tolist()):
                label = LABELS[corpus.emotion[row]]
                prediction = LABELS[0] if number % 3 == 0 else label
                line = {"id": corpus.utterance_id(row), "speaker": fold.test, "fold": fold.number, "label": label}
                lines.append({**line, "prediction": prediction})
            write_lines(folder / "predictions" / "test-lva.jsonl", lines)
    return root


def table(folder: Path, name: str = "table2_settings") -> dict[str, dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as stream:
        return {row["setting"]: row for row in csv.DictReader(stream)}


def report(
    out: Path, *sources: object, flags: tuple[str, ...] = ("--no-pictures", "--overwrite")
) -> dict[str, dict[str, str]]:
    assert main([*map(str, sources), "--out", str(out), *flags]) == 0
    return table(out)


def test_floors_stand_in_every_table_and_are_kept(data_bin: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "runs", data_bin)
    rows = report(tmp_path / "report", sweep)
    assert list(rows) == [
        "floor_chance", "floor_majority", "floor_text", "floor_visual", "floor_acoustic", "floor_all", "direct",
    ]  # fmt: skip
    assert float(rows["floor_majority"]["uar"]) == pytest.approx(25)
    # Words and frames carry the emotion; several streams tell more than one.
    assert float(rows["floor_all"]["uar"]) > max(70, float(rows["floor_visual"]["uar"]))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "report" / "floors").rglob("*.jsonl")}
    assert report(tmp_path / "report", sweep) == rows and len(kept) == 6 * len(FOLDS)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "confusion" in (tmp_path / "report" / "index.html").read_text()
    assert list(table(tmp_path / "report", "confusion")) == ["direct"]


def test_floors_are_fitted_again_when_the_frames_have_changed(data_bin: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(data_bin, tmp_path / "data-bin"))
    sweep = write_sweep(tmp_path / "runs", copied)
    before = report(tmp_path / "report", sweep)
    frames = np.fromfile(copied / "acoustic.bin", np.float16)
    np.random.default_rng(1).standard_normal(len(frames)).astype(np.float16).tofile(copied / "acoustic.bin")
    after = report(tmp_path / "report", sweep)
    assert float(after["floor_acoustic"]["uar"]) < float(before["floor_acoustic"]["uar"]) - 20
    assert after["floor_visual"] == before["floor_visual"]


def test_runs_on_frames_that_have_changed_since_get_no_floors(
    data_bin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = write_sweep(tmp_path / "a", data_bin, features=[Corpus(data_bin).features_sha256()])
    assert "floor_all" in report(tmp_path / "report", known)
    other = write_sweep(tmp_path / "b", data_bin, features=["of other frames"])
    assert list(report(tmp_path / "other", other)) == ["direct"]
    assert "its words or frames have changed since the runs" in capsys.readouterr().err


def test_floors_of_two_makings_of_the_frames_are_those_of_the_first(
    data_bin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(data_bin, tmp_path / "other"))
    size = (other / "acoustic.bin").stat().st_size
    (other / "acoustic.bin").write_bytes(bytes(size))
    first = write_sweep(tmp_path / "a", data_bin)
    second = write_sweep(tmp_path / "b", other, budget={"lr": 1})
    alone = report(tmp_path / "alone", first)
    both = report(tmp_path / "both", first, f"zeros={second}")
    assert {name: both[name]["uar"] for name in alone} == {name: row["uar"] for name, row in alone.items()}
    assert f"{other} has others" in capsys.readouterr().err


def test_a_floor_is_fitted_without_the_speakers_that_it_tests(data_bin: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    report(tmp_path / "report", write_sweep(tmp_path / "runs", data_bin))
    corpus = Corpus(data_bin)
    fold = folds_of(corpus, corpus.emotion >= 0, "speakers", "strict")[1]
    assert corpus.acoustic is not None
    dim = corpus.meta.acoustic_dim or 0
    means = np.full((len(corpus), 2 * dim), np.nan)
    for row in range(len(corpus)):
        frames = corpus.acoustic.view(row).reshape(-1, dim).astype(np.float32)
        if len(frames):
            means[row] = [*frames.mean(axis=0), *frames.std(axis=0)]
    means = np.where(np.isnan(means), np.nanmean(means, axis=0), means)
    train, valid, test = (fold.rows(corpus, part) for part in ("train", "valid", "test"))
    scaler = StandardScaler().fit(means[train])
    answers, scores = [], []
    for penalty in (0.01, 0.1, 1.0):
        model = LogisticRegression(C=penalty, max_iter=300).fit(scaler.transform(means[train]), corpus.emotion[train])
        answers.append(model.predict(scaler.transform(means[test])))
        right = model.predict(scaler.transform(means[valid])) == corpus.emotion[valid]
        scores.append(
            np.mean([right[corpus.emotion[valid] == code].mean() for code in np.unique(corpus.emotion[valid])])
        )
    [path] = (tmp_path / "report" / "floors").rglob("floor_acoustic/*/fold02/*/predictions.jsonl")
    written = [json.loads(line)["prediction"] for line in path.read_text().splitlines()]
    agreement = np.mean(
        [LABELS[code] == found for code, found in zip(answers[int(np.argmax(scores))], written, strict=True)]
    )
    assert agreement > 0.95


def test_without_the_data_bin_a_note_says_why_there_are_no_floors(
    data_bin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"path": str(tmp_path / "gone"), "name": "toy", "sha256": Corpus(data_bin).sha256()}
    rows = report(tmp_path / "report", write_sweep(tmp_path / "runs", data_bin, corpus=gone))
    assert list(rows) == ["direct"] and "the data-bin is not there any more" in capsys.readouterr().err


def predictions_csv(sweep: Path, path: Path) -> Path:
    """The sweep's predictions as another tool writes them: a column for each label, no speaker and no fold."""
    lines = [json.loads(line) for file in sorted(sweep.rglob("*.jsonl")) for line in file.read_text().splitlines()]
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "label", *LABELS])
        writer.writerows(
            [line["id"], line["label"], *(float(line["prediction"] == name) for name in LABELS)] for line in lines
        )
    return path


def test_predictions_of_other_tools_stand_beside_the_runs(data_bin: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "runs", data_bin)
    other = predictions_csv(sweep, tmp_path / "other.csv")
    flags = ("--no-pictures", "--no-floors")
    rows = report(tmp_path / "report", sweep, f"Their system={other}", flags=flags)
    assert rows["given_their_system"]["uar"] == rows["direct"]["uar"]
    assert rows["given_their_system"]["speakers"] == "4"
    assert "Their system" in (tmp_path / "report" / "table2_settings.md").read_text()
    alone = report(tmp_path / "alone", other, flags=flags)
    assert float(alone["given_other"]["wa"]) == pytest.approx(float(rows["direct"]["wa"]), abs=1)


def test_answers_of_memobert_predict_are_no_truth(data_bin: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "runs", data_bin)
    lines = [json.loads(line) for file in sorted(sweep.rglob("*.jsonl")) for line in file.read_text().splitlines()]
    answers = [{"id": line["id"], "label": line["prediction"], "unsure": False} for line in lines]
    other = tmp_path / "answers.jsonl"
    other.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    flags = ("--no-pictures", "--no-floors")
    rows = report(tmp_path / "report", sweep, other, flags=flags)
    assert rows["given_answers"]["uar"] == rows["direct"]["uar"] != "100.00"
    with pytest.raises(UserError, match="an answer of memobert predict, whose label is no truth"):
        main([str(other), "--out", str(tmp_path / "alone")])


def test_numbers_beside_columns_of_probabilities_are_no_emotions(tmp_path: Path) -> None:
    path = tmp_path / "durations.csv"
    path.write_text("id,label,duration,anger,sad\na,anger,2.5,0.9,0.1\nb,sad,4.1,0.2,0.8\nc,sad,3.0,0.7,0.3\n")
    rows = report(tmp_path / "report", path, flags=("--no-pictures", "--no-floors"))
    assert float(rows["given_durations"]["wa"]) == pytest.approx(100 * 2 / 3, abs=0.01)
    path.write_text("id,label,happy,anger,sad\na,anger,0.8,0.1,0.1\nb,sad,0.1,0.1,0.8\n")
    with pytest.raises(UserError, match=r"happy: no label of any utterance.*call every probability p_LABEL, as in p_"):
        main([str(path), "--out", str(tmp_path / "other")])


def test_predictions_without_speakers_have_one_for_each_fold(tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    lines = [f"u{number},sad,{'sad' if number % 4 else 'anger'},{number % 3}" for number in range(24)]
    path.write_text("\n".join(["id,label,prediction,fold", *lines]) + "\n")
    rows = report(tmp_path / "report", path, flags=("--no-pictures", "--no-floors"))
    assert (rows["given_folds"]["folds"], rows["given_folds"]["speakers"]) == ("3", "3")
    assert "names no speakers" in (tmp_path / "report" / "table2_settings.md").read_text()


def test_predictions_for_a_split_are_compared_with_its_runs(data_bin: Path, tmp_path: Path) -> None:
    lines = [
        {"id": f"u{number}", "speaker": f"s{number % 6}", "fold": 0, "label": LABELS[number % 4]}
        for number in range(48)
    ]
    run = write_run(tmp_path / "runs", "direct", 0, 1, test_speaker="")
    write_lines(run / "predictions" / "test-lva.jsonl", [{**line, "prediction": line["label"]} for line in lines])
    other = tmp_path / "other.csv"
    other.write_text("id,prediction\n" + "".join(f"{line['id']},{LABELS[0]}\n" for line in lines))
    rows = report(tmp_path / "report", tmp_path / "runs", other, flags=("--no-pictures", "--no-floors"))
    assert (rows["direct"]["uar"], rows["given_other"]["uar"]) == ("100.0", "25.0")


def test_predictions_of_one_label_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("id,label,prediction\na,sad,sad\n")
    with pytest.raises(UserError, match=r"one\.csv: has one label alone, sad"):
        main([str(path), "--out", str(tmp_path / "report")])


def test_two_sweeps_are_compared_by_name(data_bin: Path, tmp_path: Path) -> None:
    first = write_sweep(tmp_path / "a", data_bin)
    second = write_sweep(tmp_path / "b", data_bin, budget={"lr": 1})
    rows = report(tmp_path / "report", f"ours={first}", f"theirs={second}")
    assert list(rows)[-2:] == ["direct@ours", "direct@theirs"] and len(rows) == 8
    with pytest.raises(UserError, match="the same setting, fold and seed twice"):
        main([str(first), str(second), "--out", str(tmp_path / "no")])
    with pytest.raises(UserError, match="the same setting, fold and seed twice"):
        main([f"ours={first}", f"ours={second}", "--out", str(tmp_path / "no")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\ns0_1,sad\n", "needs label, and prediction or probabilities"),
        ("name,label\nx,sad\n", "no id; every prediction names its utterance"),
        ("id,label,prediction,fold\nx,sad,sad,first\n", "fold 'first'; give a number"),
    ],
)
def test_files_that_hold_no_predictions_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        main([str(path), "--out", str(tmp_path / "report")])


def test_predictions_for_other_utterances_and_missing_files_are_refused(data_bin: Path, tmp_path: Path) -> None:
    sweep, path = write_sweep(tmp_path / "runs", data_bin), tmp_path / "bad.jsonl"
    path.write_text('{"id": "x", "label": "sad", "prediction": "sad"}\n')
    with pytest.raises(UserError, match="has no prediction for an utterance that the runs test"):
        main([str(sweep), str(path), "--out", str(tmp_path / "report")])
    with pytest.raises(UserError, match="no such file or folder"):
        main([str(tmp_path / "nothing"), "--out", str(tmp_path / "report")])
