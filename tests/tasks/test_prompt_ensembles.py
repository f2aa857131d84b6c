"""Several templates and contextual calibration, against the answers of each template alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

MORE = ("he is [MASK] .", "so it was [MASK] today")


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=4, utterances=13))


@pytest.fixture(scope="module", params=["vocabulary", "labels"])
def trained(request: pytest.FixtureRequest, data_bin: Path) -> TrainingRun:
    flags = ("--fold", "1", "--init-std", "0.5", "--mask-words", request.param, "--more-templates", " || ".join(MORE))
    run = TrainingRun(data_bin, "memobert_prompt", *flags)
    run.train(6)
    return run


def probabilities(run: TrainingRun, data_bin: Path, folder: Path, *flags: str) -> np.ndarray:
    """(N, C) of the validation speakers by the trained network with other flags of the prompt."""
    words = ("--mask-words", str(run.task.cfg.mask_words))
    other = TrainingRun(
        data_bin, "memobert_prompt", "--fold", "1", *words, "--predictions", str(folder / "p.jsonl"), *flags
    )
    other.model.load_state_dict(run.model.state_dict(), strict=True)
    other.validate()
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    return np.array([list(line["probabilities"].values()) for line in lines])


def normalised(logs: np.ndarray) -> np.ndarray:
    return np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)


def test_evaluation_averages_the_log_probabilities_of_all_templates(
    trained: TrainingRun, data_bin: Path, tmp_path: Path
) -> None:
    each = [probabilities(trained, data_bin, tmp_path, "--template", text) for text in ("i am [MASK] .", *MORE)]
    together = probabilities(trained, data_bin, tmp_path, "--more-templates", " || ".join(MORE))
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(together, normalised(np.mean(np.log(each), axis=0)), atol=1e-5)


def test_weights_chosen_in_validation_lessen_its_loss_and_are_those_of_tests(
    data_bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, more = tmp_path / "{subset}.jsonl", ("--more-templates", " || ".join(MORE))
    flags = ("--fold", "1", "--init-std", "0.5", *more, "--template-weights", "validation", "--predictions", str(path))
    run = TrainingRun(data_bin, "memobert_prompt", *flags)
    run.train(6)
    assert run.task.state.state_dict.get("template_weights") is None
    caplog.set_level("INFO")
    run.validate()
    path = tmp_path / "valid.jsonl"
    before = path.read_text()
    weights = np.array(run.task.state.template_weights)
    assert min(weights) >= 0 and sum(weights) == pytest.approx(1, abs=1e-3) and np.ptp(weights) > 0.05
    assert "weights of the templates in validation: " + ", ".join(f"{one:g}" for one in weights) in caplog.text
    run.validate("test")
    assert run.task.state.template_weights == weights.tolist()

    def answers(text: str) -> tuple[np.ndarray, np.ndarray]:
        lines = [json.loads(line) for line in text.splitlines()]
        shares = np.array([list(line["probabilities"].values()) for line in lines])
        return shares, np.array([list(line["probabilities"]).index(line["label"]) for line in lines])

    each = [probabilities(run, data_bin, tmp_path, "--template", text) for text in ("i am [MASK] .", *MORE)]
    plain, truth = answers(before)
    np.testing.assert_allclose(plain, normalised(np.mean(np.log(each), axis=0)), atol=1e-5)
    weighted = TrainingRun(data_bin, "memobert_prompt", *flags)
    weighted.model.load_state_dict(run.model.state_dict(), strict=True)
    weighted.task.load_state_dict(run.task.state_dict())
    del weighted.task.datasets["train"]  # as in a test
    weighted.validate()
    shares, _ = answers(path.read_text())
    np.testing.assert_allclose(shares, normalised(np.einsum("t,tnc->nc", weights, np.log(each))), atol=1e-5)
    losses = [-np.log(one[np.arange(len(truth)), truth]).mean() for one in (shares, plain, *each)]
    assert losses[0] < min(losses[1:]) + 1e-4 and losses[0] < losses[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "there is one template; give --more-templates"),
        (("--more-templates", MORE[0], "--protocol", "all_but_one"), "no validation apart from the test"),
    ],
)
def test_weights_of_nothing_are_refused(data_bin: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=f"--template-weights validation: .*{message}"):
        TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--template-weights", "validation", *flags)


def test_a_test_without_weights_in_the_checkpoint_is_refused(data_bin: Path) -> None:
    flags = ("--fold", "1", "--template-weights", "validation", "--more-templates", MORE[0])
    run = TrainingRun(data_bin, "memobert_prompt", *flags)
    del run.task.datasets["train"]
    with pytest.raises(SystemExit, match="the checkpoint has none; train with these flags"):
        run.validate("test")


def test_calibration_divides_by_the_answer_to_nothing(trained: TrainingRun, data_bin: Path, tmp_path: Path) -> None:
    plain = probabilities(trained, data_bin, tmp_path)
    calibrated = probabilities(trained, data_bin, tmp_path, "--contextual-calibration")
    shift = np.log(calibrated) - np.log(plain)
    shift -= shift.mean(axis=1, keepdims=True)
    # The same for every utterance, and not nothing.
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-4)
    assert np.abs(shift).max() > 1e-3


def test_training_shows_every_template_and_the_longest_fits(data_bin: Path) -> None:
    run = TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--more-templates", MORE[1])
    run.task.load_dataset("train")
    dataset = run.task.dataset("train")
    shown = set()
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        batch = dataset.collater([0, 1])
        shown.add(batch["template"])
        pieces = batch["net_input"]["text"][torch.as_tensor(batch["mask_rows"])]
        assert set(pieces.tolist()) == {run.task.symbols.index("[MASK]")} and "more" not in batch
    assert shown == {0, 1}
    assert run.task.longest_text() == 60 + 2 + 5 + 1


def test_a_template_without_a_mask_is_refused(data_bin: Path) -> None:
    with pytest.raises(SystemExit, match=r'template "no mask" has 0 \[MASK\]'):
        TrainingRun(data_bin, "memobert_prompt", "--fold", "1", "--more-templates", "he is [MASK] . || no mask")
