"""Imported weights become usable with a data-bin of their vocabulary; whatever does not belong to them is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from memobert_plugin import MEmoBERT
from memobert_plugin.checkpoints.fairseq_checkpoint import read_fairseq_checkpoint
from memobert_plugin.checkpoints.model_description import SIZES
from memobert_plugin.checkpoints.starting_point import write_starting_point
from memobert_plugin.cli import export
from memobert_plugin.core.errors import UserError
from memobert_plugin.inference.network import load_network
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import TrainingRun

SHAPE = CorpusShape(speakers=2, utterances=6)


@pytest.fixture(scope="module")
def data_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE)


@pytest.fixture(scope="module")
def finetuned(data_bin: Path) -> TrainingRun:
    return TrainingRun(data_bin, "memobert_finetune", "--fold", "1", "--protocol", "all_but_one")


def imported(run: TrainingRun, path: Path, without: str = "nothing") -> Path:
    """The run's weights as ``memobert-import`` writes them, without the parts of one name."""
    weights: dict[str, Tensor] = {
        name: value for name, value in run.parameters().items() if not name.startswith(without)
    }
    write_starting_point(path, weights, {"_name": "memobert", **{size: run.config.model[size] for size in SIZES}})
    return path


def test_a_finetuned_model_takes_dictionary_labels_and_extractors_from_the_data_bin(
    data_bin: Path, finetuned: TrainingRun, tmp_path: Path
) -> None:
    path = imported(finetuned, tmp_path / "x.pt", without="heads.m")
    with pytest.raises(UserError, match="name a data-bin"):
        read_fairseq_checkpoint(path)
    found = read_fairseq_checkpoint(path, data_bin).description
    assert (found.kind, found.labels) == ("finetune", ["anger", "happy", "neutral", "sad"])
    assert (found.visual_dim, found.acoustic_dim, found.modalities) == (6, 5, "lva")
    assert found.visual_extractor is not None and found.visual_extractor.name == "generated"
    network = load_network(path, "cpu", "float32", data_bin)
    assert torch.equal(network.module.state_dict()["pooler.weight"], finetuned.parameters()["pooler.weight"])


def test_read_directly_or_exported_imported_weights_take_zero_frames(
    data_bin: Path, finetuned: TrainingRun, tmp_path: Path
) -> None:
    path = imported(finetuned, tmp_path / "x.pt")
    assert export.main([str(path), str(tmp_path / "zero"), "--data-bin", str(data_bin), "--zero-frames"]) == 0
    bundle = MEmoBERT.from_pretrained(tmp_path / "zero")
    direct, plain = (MEmoBERT.from_pretrained(path, data_bin=data_bin, zero_frames=zero) for zero in (True, False))
    of_bundle, filled, left_out = (dict(model.predict(text="go").probabilities) for model in (bundle, direct, plain))
    assert filled == pytest.approx(of_bundle, abs=1e-6)
    assert left_out != pytest.approx(filled, abs=1e-5)


def test_the_classifiers_order_can_be_stated(data_bin: Path, finetuned: TrainingRun, tmp_path: Path) -> None:
    path = imported(finetuned, tmp_path / "x.pt")
    other = ["sad", "neutral", "happy", "anger"]
    assert read_fairseq_checkpoint(path, data_bin, other).description.labels == other
    with pytest.raises(UserError, match="tells 4 emotions apart, 2 are named"):
        read_fairseq_checkpoint(path, data_bin, other[:2])


def test_without_a_classifier_labels_make_a_prompt(data_bin: Path, finetuned: TrainingRun, tmp_path: Path) -> None:
    path = imported(finetuned, tmp_path / "x.pt", without="heads.classify")
    assert read_fairseq_checkpoint(path, data_bin).description.kind == "pretraining"
    prompted = read_fairseq_checkpoint(path, data_bin, ["happy", "sad"]).description
    assert (prompted.kind, prompted.template, prompted.verbalizer) == (
        "prompt",
        "i am [MASK] .",
        "happy=happy sad=sad",
    )
    kept = read_fairseq_checkpoint(path, data_bin, ["anger", "sad"], "sad=sad anger=never").description
    assert kept.verbalizer == "anger=never sad=sad"
    with pytest.raises(UserError, match='no word is known for the label "bored"'):
        read_fairseq_checkpoint(path, data_bin, ["happy", "bored"])
    with pytest.raises(UserError, match="--verbalizer: only a prompted model"):
        read_fairseq_checkpoint(path, data_bin, verbalizer="happy=happy")


@pytest.mark.parametrize("part", ["pooler.", "encoder.", "visual_embedder.mask"])
def test_half_a_model_is_refused(data_bin: Path, finetuned: TrainingRun, tmp_path: Path, part: str) -> None:
    with pytest.raises(UserError, match=f"lacks {part}"):
        read_fairseq_checkpoint(imported(finetuned, tmp_path / "x.pt", without=part), data_bin)


def test_another_data_bin_is_refused(finetuned: TrainingRun, tmp_path: Path) -> None:
    path = imported(finetuned, tmp_path / "x.pt")
    with pytest.raises(UserError, match="acoustic frames have 7 dimensions"):
        read_fairseq_checkpoint(path, make_data_bin(tmp_path / "dims", CorpusShape(1, 3, acoustic_dim=7)))


def test_a_trained_checkpoint_knows_its_own_labels(data_bin: Path, finetuned: TrainingRun, tmp_path: Path) -> None:
    finetuned.train(1)
    path = finetuned.save(tmp_path / "trained.pt")
    with pytest.raises(UserError, match="has its own"):
        read_fairseq_checkpoint(path, data_bin, ["happy", "sad"])
