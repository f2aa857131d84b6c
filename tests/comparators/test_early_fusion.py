"""Early fusion trains in MEmoBERT's finetuning task: seven cases, absent modalities, gradients, a run of fairseq."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from memobert_plugin.comparators.base import COMPARATORS
from memobert_plugin.comparators.early_fusion import EarlyFusion, EarlyFusionConfig
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.tasks.utterance_dataset import Modalities
from tests.comparators import checks


def build(corpus: Corpus, **sizes: Any) -> EarlyFusion:
    torch.manual_seed(0)
    config = EarlyFusionConfig(**{"encoder_embed_dim": 16, **sizes})
    return EarlyFusion(config, len(corpus.symbols), checks.SHAPE.visual_dim, checks.SHAPE.acoustic_dim, checks.LABELS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return checks.small_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_modality_case_gives_logits(corpus: Corpus, case: str) -> None:
    checks.assert_shows_every_case(build(corpus), corpus, case)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_utterance_does_not_depend_on_the_others_of_its_batch(corpus: Corpus, layers: int) -> None:
    checks.assert_independent_of_the_batch(build(corpus, encoder_layers=layers), corpus)


def test_only_the_asked_utterances_are_returned(corpus: Corpus) -> None:
    checks.assert_reads_the_asked_utterances(build(corpus), corpus)


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_parameter_has_a_gradient(corpus: Corpus, case: str) -> None:
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case))
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case, range(1)))


def test_any_float_type_reads_stored_frames(corpus: Corpus) -> None:
    checks.assert_follows_the_precision(build(corpus), corpus)


@pytest.mark.parametrize("modalities", [Modalities(), Modalities("lva", mixture=True), Modalities("l")])
def test_a_tiny_corpus_is_learned(corpus: Corpus, modalities: Modalities) -> None:
    losses = checks.training_losses(build(corpus), corpus, modalities, updates=30)
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_an_absent_modality_is_one_learned_row(corpus: Corpus) -> None:
    model = build(corpus).eval()
    sample = checks.batch(corpus, "la")
    before = checks.logits(model, sample)
    with torch.no_grad():
        model.visual_embedder.absent.add_(1.0)
    assert not torch.allclose(checks.logits(model, sample), before)
    seen = {**sample, "net_input": checks.batch(corpus, "va")["net_input"]}
    present = torch.from_numpy(seen["net_input"]["visual_lengths"] > 0)
    shown = checks.logits(model, seen)[present]
    with torch.no_grad():
        model.visual_embedder.absent.sub_(1.0)
    torch.testing.assert_close(checks.logits(model, seen)[present], shown)


def test_a_corpus_without_frames_needs_no_projection(corpus: Corpus) -> None:
    model = EarlyFusion(EarlyFusionConfig(encoder_embed_dim=16), len(corpus.symbols), 0, 0, checks.LABELS)
    sample = checks.batch(corpus, "l")
    sample["net_input"].update(visual=None, acoustic=None)
    assert model.visual_embedder.linear is None
    checks.assert_gradient_everywhere(model, sample)
    with pytest.raises(ValueError, match="built without"):
        checks.logits(model, checks.batch(corpus, "lv"))


def test_a_task_without_labels_is_refused_in_one_line() -> None:
    config = EarlyFusionConfig()
    config._name = "memobert_early_fusion"
    sizes = {"vocabulary": 9, "visual_dim": 2, "acoustic_dim": 2, "expression_classes": 0, "symbols": []}
    with pytest.raises(SystemExit, match=r"memobert_early_fusion: .* --task memobert_finetune"):
        COMPARATORS.get("early_fusion").build_model(config, SimpleNamespace(model_sizes=lambda: sizes))
    with pytest.raises(SystemExit, match="--task memobert_finetune"):
        COMPARATORS.get("early_fusion").build_model(config, SimpleNamespace())


def test_another_head_is_refused(corpus: Corpus) -> None:
    sample = checks.batch(corpus)
    with pytest.raises(UserError, match="'wwmlm'"):
        build(corpus)(**sample["net_input"], head="wwmlm", rows=sample["net_input"]["text_lengths"])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"encoder_embed_dim": 15}, "encoder-embed-dim 15"), ({"encoder_layers": 0}, "one layer or more")],
)
def test_impossible_sizes_are_refused(corpus: Corpus, sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(corpus, **sizes)


def test_a_checkpoint_of_another_architecture_is_refused_in_one_line(corpus: Corpus) -> None:
    sizes = {"vocabulary": len(corpus.symbols), "visual_dim": 6, "acoustic_dim": 5, "labels": 4, "symbols": ["a", "b"]}
    model = COMPARATORS.get("early_fusion").build_model(EarlyFusionConfig(), SimpleNamespace(model_sizes=lambda: sizes))
    state = model.state_dict()
    model.load_state_dict(state)
    other = {**state, "dictionary_fingerprint": state["dictionary_fingerprint"] + 1}
    with pytest.raises(SystemExit, match="another dictionary"):
        model.upgrade_state_dict(other)
    del state["classifier.out.weight"]
    with pytest.raises(SystemExit, match=r"1 missing \(classifier.out.weight\)"):
        model.upgrade_state_dict(state)


@pytest.mark.slow
def test_fairseq_trains_and_evaluates_a_fold(tmp_path: Path) -> None:
    lines = checks.train_and_validate(tmp_path, "memobert_early_fusion")
    assert len(lines) == checks.SHAPE.utterances
    assert {line["speaker"] for line in lines} == {"spk0"}
