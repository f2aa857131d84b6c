"""Inputs of the comparators: standardised frames, a frozen text encoder, checkpoints of earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from omegaconf import OmegaConf
from torch import Tensor
from transformers import BertModel

from memobert_plugin.comparators.base import ComparatorConfig
from memobert_plugin.comparators.clstm_mma import ClstmMmaConfig
from memobert_plugin.comparators.early_fusion import EarlyFusionConfig
from memobert_plugin.comparators.inputs import FrameVectors, TextVectors
from memobert_plugin.comparators.mmin import MminConfig
from memobert_plugin.comparators.mult import MulTConfig
from memobert_plugin.comparators.ssmm import SsmmConfig
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.nn.network import STORED_HALF
from memobert_plugin.nn.text_encoder import TextEncoderSizes
from memobert_plugin.tasks.frame_statistics import frame_sample
from tests.comparators import checks
from tests.reference.bert_folder import bert_config, random_bert, write_bert_folder

CONFIGS: dict[str, type[ComparatorConfig]] = {
    "early_fusion": EarlyFusionConfig,
    "mult": MulTConfig,
    "clstm_mma": ClstmMmaConfig,
    "mmin": MminConfig,
    "ssmm": SsmmConfig,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return checks.small_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def bert(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of the corpus' vocabulary."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = (corpus.path.parent / "vocab.txt").read_text().split("\n")[:-1]
    config = bert_config(layers=2, hidden=24, heads=2, ffn=32, rows=len(vocabulary), positions=80)
    write_bert_folder(folder, random_bert(BertModel, config), vocabulary)
    return folder


def built(corpus: Corpus, name: str, text_encoder: str = "", **flags: Any) -> Any:
    """The model that the task builds."""
    task = checks.task_of(corpus, dialogues=name == "clstm_mma", **flags)
    torch.manual_seed(0)
    config = CONFIGS[name](_name=f"memobert_{name}", text_encoder=text_encoder)
    return task, task.build_model(OmegaConf.structured(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_standardized_frames_have_the_statistics_of_the_training_speakers(corpus: Corpus, name: str) -> None:
    task, model = built(corpus, name, standardize_frames=True)
    assert corpus.visual is not None
    sample = frame_sample(corpus.visual, task.training_rows(), checks.SHAPE.visual_dim)
    standard = model.visual_embedder.standardized(torch.from_numpy(sample))
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(standard.std(dim=0, unbiased=False), torch.ones(6), rtol=1e-4, atol=0)
    raw = built(corpus, name)[1]
    assert not bool(raw.visual_embedder.mean.any()) and not bool((raw.visual_embedder.deviation != 1).any())


def test_frames_are_centred_by_their_projection_or_refused_without_one(corpus: Corpus) -> None:
    task, model = built(corpus, "early_fusion", center_frames=True)
    assert corpus.acoustic is not None
    mean = frame_sample(corpus.acoustic, task.training_rows(), checks.SHAPE.acoustic_dim).mean(axis=0)
    projected = model.acoustic_embedder.linear(torch.from_numpy(mean).float())
    torch.testing.assert_close(projected, torch.zeros(64), rtol=0, atol=1e-5)
    with pytest.raises(SystemExit, match=r"--center-frames: .* give --standardize-frames"):
        built(corpus, "ssmm", center_frames=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_text_is_read_by_a_frozen_encoder_whose_weights_go_with_the_checkpoint(
    corpus: Corpus, bert: Path, name: str
) -> None:
    _, model = built(corpus, name, text_encoder=str(bert))
    assert not any(one.requires_grad for one in model.text_embedder.encoder.parameters())
    sample = checks.batch(corpus)
    model.eval()
    expected = checks.logits(model, sample)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert any(key.endswith(STORED_HALF) for key in state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(SystemExit, match="not the frozen text encoder of the checkpoint"):
        model.upgrade_state_dict(dict(state))
    model.given_text_encoder = ""  # as where a checkpoint brings the weights
    model.upgrade_state_dict(state)
    model.load_state_dict(state, strict=True)
    torch.testing.assert_close(checks.logits(model, sample), expected)
    words = checks.batch(corpus, "va")
    assert not torch.allclose(checks.logits(model, words), expected)


@pytest.mark.parametrize("name", ["early_fusion", "mult"])
def test_checkpoints_made_before_embedders_were_called_so_still_load(corpus: Corpus, name: str) -> None:
    _, model = built(corpus, name)
    old: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        if not key.endswith((".mean", ".deviation")):
            old[key.replace("_embedder.", ".")] = value.clone()
    assert "visual.linear.weight" in old and "text.word.weight" in old
    other = built(corpus, name)[1]
    with torch.no_grad():
        other.visual_embedder.mean.add_(1)
    other.upgrade_state_dict(old)
    other.load_state_dict(old, strict=True)
    sample = checks.batch(corpus)
    torch.testing.assert_close(checks.logits(other.eval(), sample), checks.logits(model.eval(), sample))


def test_an_absent_modality_is_one_zero_row() -> None:
    frames = FrameVectors(3)
    frames.mean.add_(1.0)
    sequences = frames(torch.ones(2, 3).half(), np.array([0, 2, 0]))
    assert sequences.lengths.tolist() == [1, 2, 1] and not bool(sequences.rows.any())
    assert FrameVectors(0)(None, np.array([0, 0])).rows.shape == (2, 1)
    text = TextVectors(9, 4, TextEncoderSizes())
    sequences = text(torch.tensor([0, 2, 0, 5, 6, 2]), np.array([2, 4]), torch.float32)
    assert sequences.lengths.tolist() == [1, 4]
    assert not bool(sequences.rows[0].any()) and bool(sequences.rows[1:].all())


@pytest.mark.parametrize(
    ("name", "criterion", "needed"),
    [
        ("mmin", "memobert_finetune", "memobert_mmin"),
        ("ssmm", "memobert_mmin", "memobert_ssmm"),
        ("early_fusion", "memobert_mmin", "memobert_finetune"),
    ],
)
def test_a_network_and_its_criterion_go_together(corpus: Corpus, name: str, criterion: str, needed: str) -> None:
    task, _ = built(corpus, name)
    configuration = CRITERION_DATACLASS_REGISTRY[criterion](_name=criterion)
    with pytest.raises(SystemExit, match=f"--criterion {criterion}: this --arch takes --criterion {needed}"):
        task.build_criterion(OmegaConf.structured(configuration))
    configuration = CRITERION_DATACLASS_REGISTRY[needed](_name=needed)
    assert task.build_criterion(OmegaConf.structured(configuration)) is not None
