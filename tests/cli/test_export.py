"""``memobert-export`` on a small trained checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memobert_plugin.checkpoints.bundle import CARD, CONFIGURATION, read_bundle
from memobert_plugin.checkpoints.model_description import ModelDescription
from memobert_plugin.cli.export import main
from memobert_plugin.cli.inspect import main as inspect
from memobert_plugin.core.errors import UserError
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=2, utterances=8))
    run = TrainingRun(data_bin, "memobert_finetune", "--fold", "1", "--protocol", "all_but_one")
    run.train(1)
    return run.save(folder / "checkpoint.pt")


def test_a_bundle_is_written_and_described(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    printed = capsys.readouterr().out
    assert "finetune: anger, happy, neutral, sad; visual frames by generated; acoustic frames by generated" in printed
    assert read_bundle(tmp_path / "bundle").description.labels == ["anger", "happy", "neutral", "sad"]


def test_the_checkpoint_is_never_replaced_by_its_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("mine")
    with pytest.raises(UserError, match="is read, and would be replaced"):
        main([str(tmp_path / "model.pt"), "--onnx", str(tmp_path / "model.pt"), "--overwrite"])
    assert (tmp_path / "model.pt").read_text() == "mine"


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt: cannot be opened"):
        main([str(tmp_path / "none.pt"), str(tmp_path / "bundle")])
    assert not (tmp_path / "bundle").exists()


LABELS = ("anger", "happy", "neutral", "sad")


def write_predictions(path: Path, count: int = 100, **changes: Any) -> Path:
    """Write predictions that are right in three of five cases and always sure at 0.97."""
    lines = []
    for number in range(count):
        said, label = LABELS[number % 4], LABELS[(number + (number % 5 > 2)) % 4]
        shares = {name: 0.97 if name == said else 0.01 for name in LABELS}
        line = {"id": f"u{number}", "speaker": "held_out", "fold": 2, "label": label, "probabilities": shares}
        lines.append(json.dumps({**line, **changes}) + "\n")
    path.write_text("".join(lines))
    return path


def test_a_calibration_is_fitted_stored_and_shown(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(write_predictions(tmp_path / f"{name}.jsonl")) for name in "ab"]
    bundle = tmp_path / "bundle"
    note = "trained on drawn faces: answers nothing about people"
    assert main([str(checkpoint), str(bundle), "--calibrate", *files, "--note", note]) == 0
    assert "calibrated on 200 predictions: temperature" in capsys.readouterr().out
    description = read_bundle(bundle).description
    found = description.calibration
    assert found is not None and description.note == note
    assert (found.utterances, found.error_before, found.threshold) == (200, pytest.approx(0.37), pytest.approx(0.6))
    assert found.error_after < 0.001 and found.temperature > 2
    card = (bundle / CARD).read_text()
    assert card.splitlines()[2] == f"**{note}**" and "error (15 bins) 0.370 before and 0.000 after" in card
    assert inspect([str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert f"note: {note}" in shown and "calibration: temperature" in shown and "utterances 200" in shown


def test_a_bundle_without_calibration_and_note_is_what_earlier_versions_read(checkpoint: Path, tmp_path: Path) -> None:
    assert main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    assert not {"calibration", "note"} & set(json.loads((tmp_path / "bundle" / CONFIGURATION).read_text())["model"])
    assert "Not calibrated" in (tmp_path / "bundle" / CARD).read_text()


@pytest.mark.parametrize("change", [{"calibration": {"temperature": 1.0}}, {"calibration": 3}, {"note": 3}])
def test_a_calibration_or_note_that_is_damaged_is_named(
    checkpoint: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "bundle")]) == 0
    values = read_bundle(tmp_path / "bundle").description.to_dict()
    with pytest.raises(UserError, match=f"{next(iter(change))} cannot be"):
        ModelDescription.from_dict("config.json", {**values, **change})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "joy"}, r"p\.jsonl:1: not a prediction among anger, happy, neutral, sad"),
        ({"probabilities": {"anger": 1.0}}, "not a prediction among"),
        ({"probabilities": dict.fromkeys(LABELS, 0.1)}, "do not add up to 1"),
        ({"probabilities": dict.fromkeys(LABELS, "0.25")}, "do not add up to 1"),
        ({"id": "twice"}, r"p\.jsonl:2: utterance twice again"),
        ({"fold": 1, "speaker": "spk1"}, "speaker spk1 is one of those that the model was trained on"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_line(
    checkpoint: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    predictions = write_predictions(tmp_path / "p.jsonl", **changes)
    with pytest.raises(UserError, match=said):
        main([str(checkpoint), str(tmp_path / "bundle"), "--calibrate", str(predictions)])
    assert not (tmp_path / "bundle").exists()


def test_too_few_predictions_other_files_and_long_notes_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    flags = [str(checkpoint), str(tmp_path / "bundle")]
    with pytest.raises(UserError, match="--calibrate: 49 predictions; give at least 50"):
        main([*flags, "--calibrate", str(write_predictions(tmp_path / "p.jsonl", 49))])
    (tmp_path / "text.jsonl").write_text("no JSON")
    with pytest.raises(UserError, match=r"text\.jsonl:1: no JSON object"):
        main([*flags, "--calibrate", str(tmp_path / "text.jsonl")])
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        main([*flags, "--calibrate", str(tmp_path / "none.jsonl")])
    with pytest.raises(UserError, match="--note: 301 letters"):
        main([*flags, "--note", "x" * 301])
