"""Gradient x input against differences, words put together again, and the answer's course."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from memobert_plugin import MEmoBERT
from memobert_plugin.inference.explain import course, explain
from memobert_plugin.inference.utterance import Evidence, Utterance
from tests.data_bins import CorpusShape, make_data_bin
from tests.inference.models import trained_checkpoint

TASKS = ("memobert_prompt", "memobert_finetune")
RNG = np.random.default_rng(5)
FACES, SPEECH = (RNG.normal(size=(count, dim)).astype(np.float32) for count, dim in ((7, 6), (9, 5)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MEmoBERT]:
    folder = tmp_path_factory.mktemp("models")
    data_bin = make_data_bin(folder / "corpus", CorpusShape(speakers=3, utterances=10))
    paths = {task: trained_checkpoint(data_bin, task, folder / f"{task}.pt") for task in TASKS}
    return {task: MEmoBERT.from_pretrained(path) for task, path in paths.items()}


def seen(model: MEmoBERT, text: str = "We love it, really!") -> Evidence:
    return model.read(Utterance(text=text, visual=FACES, acoustic=SPEECH))


def log_probability(model: MEmoBERT, evidence: Evidence, label: str) -> float:
    [(probabilities, _)] = model.probabilities([evidence])
    return float(np.log(probabilities[model.labels.index(label)]))


@pytest.mark.parametrize("task", TASKS)
def test_a_frames_value_is_the_slope_when_that_frame_is_scaled(models: dict[str, MEmoBERT], task: str) -> None:
    model = models[task]
    model.network.module.double()
    try:
        evidence = seen(model)
        found = explain(model.network, evidence)
        for name, values in (("visual", found.visual), ("acoustic", found.acoustic)):
            frames = getattr(evidence, name).astype(np.float64)
            assert values.shape == (len(frames),)
            for row in (0, len(frames) - 1):
                sides = []
                for scale in (0.999, 1.001):
                    scaled = frames.copy()
                    scaled[row] *= scale
                    sides.append(log_probability(model, replace(evidence, **{name: scaled}), found.label))
                assert values[row] == pytest.approx((sides[1] - sides[0]) / 0.002, rel=2e-2, abs=1e-4)
    finally:
        model.network.module.float()


def scaled_row(
    row: int, scale: float, _: object, given: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    return torch.where((given[0] == row)[:, None], output * scale, output)


def test_a_words_value_is_the_slope_when_its_vector_is_scaled(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_prompt"]
    module = model.network.module.double()
    try:
        evidence = seen(model, "cry")
        found = explain(model.network, evidence)
        row, weight = int(evidence.pieces[0]), module.word_vectors().weight
        sides = []
        for scale in (0.999, 1.001):
            handle = module.word_vectors().register_forward_hook(partial(scaled_row, row, scale))
            sides.append(log_probability(model, evidence, found.label))
            handle.remove()
        assert weight.grad is None
        assert found.words[0].value == pytest.approx((sides[1] - sides[0]) / 0.002, rel=2e-2, abs=1e-5)
    finally:
        module.float()


def test_pieces_are_put_together_to_the_words_of_the_text(models: dict[str, MEmoBERT]) -> None:
    found = explain(models["memobert_prompt"].network, seen(models["memobert_prompt"]))
    assert [word.word for word in found.words] == ["We", "love", "it,", "really!"]
    assert sum(found.shares.values()) == pytest.approx(1.0)


def test_only_what_is_read_is_explained(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_prompt"]
    long = Utterance(text="cry " * 70, visual=np.repeat(FACES, 8, axis=0))
    found = explain(model.network, model.read(long))
    assert len(found.words) == 60 and found.visual.shape == (36,) and found.acoustic.shape == (0,)
    assert found.shares["a"] == 0.0


def test_explaining_changes_no_answer_and_keeps_nothing(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_prompt"]
    evidence = seen(model)
    [before] = model.probabilities([evidence])
    explain(model.network, evidence)
    [after] = model.probabilities([evidence])
    assert np.array_equal(before[0], after[0])
    assert all(parameter.grad is None for parameter in model.network.module.parameters())
    assert not model.network.module.word_vectors()._forward_hooks


def test_the_course_ends_in_the_answer(models: dict[str, MEmoBERT]) -> None:
    model = models["memobert_finetune"]
    evidence = seen(model)
    way = course(model.network, evidence)
    [answer] = model.probabilities([evidence])
    assert way.seconds[-1] > max(evidence.visual_times[-1], evidence.acoustic_times[-1])  # type: ignore[index]
    assert way.values[-1] == pytest.approx(answer[0], abs=1e-6)
    assert np.allclose(way.values.sum(axis=1), 1.0)
    assert len(course(model.network, model.read(Utterance(text="cry"))).seconds) == 0
