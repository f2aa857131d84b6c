"""SSMM: discrepancy and loss against plain computations, unlabelled utterances, a run of fairseq."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional

from memobert_plugin.comparators.inputs import row_means
from memobert_plugin.comparators.ssmm import Ssmm, SsmmConfig, SsmmCriterion, discrepancy
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.tasks.utterance_dataset import Modalities
from tests.comparators import checks
from tests.data_bins import CorpusShape, make_data_bin

UNLABELLED = replace(checks.SHAPE, speakers=6, utterances=10, absent=0.3)


def build(corpus: Corpus, **sizes: Any) -> Ssmm:
    torch.manual_seed(0)
    config, shape = SsmmConfig(**{"encoder_embed_dim": 16, **sizes}), checks.SHAPE
    return Ssmm(config, len(corpus.symbols), shape.visual_dim, shape.acoustic_dim, checks.LABELS)


def criterion() -> SsmmCriterion:
    return SsmmCriterion(None, reconstruction_weight=0.5, mmd_weight=3.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return checks.small_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(make_data_bin(tmp_path_factory.mktemp("pool"), UNLABELLED, seed=1))


def with_unlabelled(corpus: Corpus, pool: Corpus, case: str = "lva", utterances: range = range(12)) -> dict[str, Any]:
    """A batch as the task makes it, with as many utterances of the pool."""
    sample = checks.batch(corpus, case, utterances)
    return {**sample, "unlabelled": checks.batch(pool, case, utterances)["net_input"]}


def test_its_size_is_what_the_layers_add_up_to() -> None:
    """MMIN's encoders, a decoder of two layers per modality, and the classifier of MMIN's teacher."""
    model = Ssmm(SsmmConfig(encoder_embed_dim=1024), 50, 342, 130, 4)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert sizes["encoders"] == 133_120 + 241_664 + 1_622_528
    text, visual, acoustic = 128 * 384 + 384 + 384 * 1024 + 1024, 129 * 128 + 129 * 342, 129 * 128 + 129 * 130
    assert sizes["decoders"] == text + visual + acoustic == 537_688
    assert sizes["classifier"] == 385 * 128 + 129 * 128 + 129 * 4 == 66_308


def plain_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """The V-statistic, kernel value by kernel value."""
    points = [*first, *second]
    distances = torch.stack([torch.stack([(one - other).square().sum() for other in points]) for one in points])
    scale = distances.detach().sum() / (len(points) * (len(points) - 1))
    value = first.new_zeros(())
    for width in (0.25, 0.5, 1, 2, 4):
        kernel, n = torch.exp(-distances / (2 * width * scale)), len(first)
        value = value + (kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()) / 5
    return value


def test_the_discrepancy_equals_a_plain_computation_and_ignores_what_weighs_nothing() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(5, 3).double(), torch.randn(7, 3).double() + 1
    found = discrepancy(first, second, torch.full((5,), 0.2).double(), torch.full((7,), 1 / 7).double())
    torch.testing.assert_close(found, plain_discrepancy(first, second))
    same = discrepancy(first, first, torch.full((5,), 0.2).double(), torch.full((5,), 0.2).double())
    assert float(found) > 0.05 and abs(float(same)) < 1e-12
    weights = torch.full((7,), 1 / 7).double()
    assert float(discrepancy(first, second, torch.zeros(5).double(), weights)) == 0
    some = torch.tensor([0.5, 0, 0.5, 0, 0]).double()
    torch.testing.assert_close(discrepancy(first, second, some, weights), plain_discrepancy(first[[0, 2]], second))


def test_the_loss_equals_a_plain_computation(corpus: Corpus, pool: Corpus) -> None:
    model = build(corpus, dropout=0.0, classifier_dropout=0.0).double().train()
    sample = with_unlabelled(corpus, pool)
    loss, _, logged = criterion()(model, sample)
    codes: dict[str, list[Tensor]] = {"acoustic": [], "text": [], "visual": []}
    wanted: dict[str, list[Tensor]] = {name: [] for name in codes}
    joined = []
    for data in (corpus, pool):
        for number in range(12):
            streams = checks.shown_streams(model, data, number, set("lva"))
            alone = model.encoders(streams)[0]
            joined.append(alone)
            inputs = checks.batch(data, utterances=range(number, number + 1))["net_input"]
            for (name, stream), code in zip(((name, streams[name]) for name in codes), alone.split(128), strict=True):
                if inputs[f"{name}_lengths"][0] > (2 if name == "text" else 0):
                    codes[name].append(code)
                    wanted[name].append(row_means(stream)[0].detach())
    logits = model.classifier(torch.stack(joined[:12]))
    errors = [
        (model.decoders[name](torch.stack(codes[name])) - torch.stack(wanted[name])).square().mean() for name in codes
    ]
    assert 12 < len(codes["visual"]) < 24 and len(codes["visual"]) != len(codes["acoustic"])
    entropy = functional.cross_entropy(logits, sample["target"], reduction="sum")
    reconstruction = torch.stack(errors).mean()
    pairs = combinations([torch.stack(found) for found in codes.values()], 2)
    distance = torch.stack([plain_discrepancy(one, other) for one, other in pairs]).sum()
    torch.testing.assert_close(logged["reconstruction"], 12 * reconstruction.detach())
    torch.testing.assert_close(logged["mmd"], 12 * distance.detach())
    torch.testing.assert_close(loss, entropy + 12 * (0.5 * reconstruction + 3.0 * distance))


def test_unlabelled_utterances_change_the_loss_and_not_the_logits(corpus: Corpus, pool: Corpus) -> None:
    model = build(corpus, dropout=0.0, classifier_dropout=0.0).train()
    both, alone = with_unlabelled(corpus, pool), checks.batch(corpus)
    (loss, _, logged), (other, _, other_logged) = (criterion()(model, sample) for sample in (both, alone))
    assert not torch.allclose(loss, other) and torch.equal(logged["confusion"], other_logged["confusion"])
    loss, _, _ = criterion()(model.eval(), both)
    expected = functional.cross_entropy(checks.logits(model, alone), alone["target"], reduction="sum")
    torch.testing.assert_close(loss, expected)


def test_half_precision_gives_the_loss_of_single_precision(corpus: Corpus, pool: Corpus) -> None:
    model = build(corpus, dropout=0.0, classifier_dropout=0.0).train()
    sample = with_unlabelled(corpus, pool)
    expected, half = (criterion()(one, sample)[0] for one in (model, copy.deepcopy(model).half()))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_parameter_has_a_gradient(corpus: Corpus, pool: Corpus, case: str) -> None:
    checks.assert_shows_every_case(build(corpus), corpus, case)
    for utterances in (range(12), range(1)):
        sample = with_unlabelled(corpus, pool, case, utterances)
        checks.assert_gradient_everywhere(build(corpus), sample, criterion())
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case), criterion())


def test_an_utterance_does_not_depend_on_the_others_of_its_batch(corpus: Corpus) -> None:
    checks.assert_independent_of_the_batch(build(corpus), corpus)
    checks.assert_reads_the_asked_utterances(build(corpus), corpus)


def test_any_float_type_reads_stored_frames(corpus: Corpus) -> None:
    checks.assert_follows_the_precision(build(corpus), corpus)


def test_a_tiny_corpus_is_learned(corpus: Corpus) -> None:
    own = SsmmCriterion(None, reconstruction_weight=0.1, mmd_weight=0.1)
    losses = checks.training_losses(build(corpus), corpus, Modalities(), updates=30, own=own)
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_a_batch_has_as_many_unlabelled_utterances_drawn_anew_and_never_the_test_speakers(
    corpus: Corpus, pool: Corpus
) -> None:
    task = checks.task_of(corpus, unlabelled=str(pool.path))
    task.load_dataset("train")
    data = task.datasets["train"]
    extra = data.unlabelled
    assert extra is not None and {pool.speakers[code] for code in pool.speaker[extra.rows]} == {
        f"spk{number}" for number in range(1, 6)
    }
    assert set(pool.split[extra.rows]) == {pool.splits.index("train")}
    epochs = []
    for epoch in (1, 2, 1):
        data.set_epoch(epoch)
        batch = data.collater(range(8))["unlabelled"]
        assert len(batch["text_lengths"]) == len(batch["visual_lengths"]) == 8
        epochs.append(batch["text"].tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    task.load_dataset("valid")
    assert "unlabelled" not in task.datasets["valid"].collater(range(8))


def test_a_pool_that_does_not_fit_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    wide = make_data_bin(tmp_path / "wide", CorpusShape(visual_dim=7, acoustic_dim=5))
    with pytest.raises(SystemExit, match="visual frames have 7 dimensions, the model reads 6"):
        checks.task_of(corpus, unlabelled=str(wide)).load_dataset("train")
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        checks.task_of(corpus, unlabelled=str(tmp_path / "nowhere")).load_dataset("train")


def test_only_this_criterion_takes_a_pool(corpus: Corpus, pool: Corpus) -> None:
    task = checks.task_of(corpus, unlabelled=str(pool.path))
    finetune = OmegaConf.create({"_name": "memobert_finetune"})
    with pytest.raises(SystemExit, match="--unlabelled: --criterion memobert_finetune does not read unlabelled"):
        task.build_criterion(finetune)
    own = OmegaConf.create({"_name": "memobert_ssmm", "reconstruction_weight": 1.0, "mmd_weight": 1.0})
    assert isinstance(task.build_criterion(own), SsmmCriterion)


@pytest.mark.slow
def test_fairseq_trains_and_evaluates_a_fold(tmp_path: Path) -> None:
    pool = make_data_bin(tmp_path / "pool", UNLABELLED, seed=1)
    flags = ["--criterion", "memobert_ssmm", "--unlabelled", str(pool)]
    lines = checks.train_and_validate(tmp_path, "memobert_ssmm", *flags)
    assert len(lines) == checks.SHAPE.utterances
    assert {line["speaker"] for line in lines} == {"spk0"}
