"""MulT trains in MEmoBERT's finetuning task: seven cases, absent modalities, gradients, a run of fairseq."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memobert_plugin.comparators.base import COMPARATORS
from memobert_plugin.comparators.mult import MulT, MulTConfig
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.nn.attention import AttentionPlan, Rectangle
from memobert_plugin.nn.packing import PackedLayout
from memobert_plugin.tasks.utterance_dataset import Modalities
from tests.comparators import checks


def build(corpus: Corpus, **sizes: Any) -> MulT:
    torch.manual_seed(0)
    config = MulTConfig(**{"encoder_embed_dim": 16, "encoder_attention_heads": 2, **sizes})
    return MulT(config, len(corpus.symbols), checks.SHAPE.visual_dim, checks.SHAPE.acoustic_dim, checks.LABELS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return checks.small_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_modality_case_gives_logits(corpus: Corpus, case: str) -> None:
    checks.assert_shows_every_case(build(corpus), corpus, case)


def test_an_utterance_does_not_depend_on_the_others_of_its_batch(corpus: Corpus) -> None:
    checks.assert_independent_of_the_batch(build(corpus), corpus)


def test_only_the_asked_utterances_are_returned(corpus: Corpus) -> None:
    checks.assert_reads_the_asked_utterances(build(corpus), corpus)


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_parameter_has_a_gradient(corpus: Corpus, case: str) -> None:
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case))
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case, range(1)))


def test_any_float_type_reads_stored_frames(corpus: Corpus) -> None:
    checks.assert_follows_the_precision(build(corpus), corpus)


@pytest.mark.parametrize("modalities", [Modalities(), Modalities("lva", mixture=True)])
def test_a_tiny_corpus_is_learned(corpus: Corpus, modalities: Modalities) -> None:
    model = build(corpus, crossmodal_layers=1, self_attention_layers=1)
    losses = checks.training_losses(model, corpus, modalities, updates=24)
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_a_padded_rectangle_gives_the_same_as_attending_each_utterance(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an accelerator does, done on the CPU."""

    def in_a_rectangle(layout: PackedLayout, device: torch.device) -> AttentionPlan:
        lengths, rectangle = layout.lengths.tolist(), Rectangle.of(layout.lengths, device)
        real = torch.arange(rectangle.shape[1]) < torch.tensor(lengths)[:, None]
        return AttentionPlan(lengths, lengths, None, rectangle, rectangle, real[:, None, None, :])

    model = build(corpus).eval()
    sample = checks.batch(corpus, mixture=True)
    expected = checks.logits(model, sample)
    monkeypatch.setattr(AttentionPlan, "for_all", staticmethod(in_a_rectangle))
    torch.testing.assert_close(checks.logits(model, sample), expected, rtol=1e-5, atol=1e-5)


def test_modalities_reach_each_other_before_the_classifier(corpus: Corpus) -> None:
    """The summary of the text changes with the frames, which early fusion's cannot."""
    model = build(corpus).eval()
    inputs = checks.batch(corpus)["net_input"]
    text = model.text_embedder(inputs["text"], inputs["text_lengths"])
    acoustic = model.acoustic_embedder(inputs["acoustic"], inputs["acoustic_lengths"])
    summaries = [
        model.fuse(text, model.visual_embedder(frames, inputs["visual_lengths"]), acoustic)[:, :32]
        for frames in (inputs["visual"], -inputs["visual"])
    ]
    seen = torch.from_numpy(inputs["visual_lengths"] > 0)
    changed = (summaries[0] - summaries[1]).abs().amax(dim=1) > 1e-4
    assert torch.equal(changed, seen)


def test_a_task_without_labels_is_refused_in_one_line() -> None:
    config = MulTConfig()
    config._name = "memobert_mult"
    sizes = {"vocabulary": 9, "visual_dim": 2, "acoustic_dim": 2, "expression_classes": 0, "symbols": []}
    with pytest.raises(SystemExit, match=r"memobert_mult: .* --task memobert_finetune"):
        COMPARATORS.get("mult").build_model(config, SimpleNamespace(model_sizes=lambda: sizes))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"encoder_attention_heads": 3}, "heads 3: give a divisor"), ({"self_attention_layers": 0}, "one layer or more")],
)
def test_impossible_sizes_are_refused(corpus: Corpus, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(corpus, **sizes)


@pytest.mark.slow
def test_fairseq_trains_and_evaluates_a_fold(tmp_path: Path) -> None:
    lines = checks.train_and_validate(tmp_path, "memobert_mult")
    assert len(lines) == checks.SHAPE.utterances
    assert {line["speaker"] for line in lines} == {"spk0"}
