"""Batches, and checks that every comparator must pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from memobert_plugin.comparators.base import StreamNetwork
from memobert_plugin.comparators.inputs import Sequences
from memobert_plugin.core.ragged import first_rows
from memobert_plugin.criterions.emotion import MEmoBERTFinetuneCriterion
from memobert_plugin.data.batches import Limits
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.targets import OneEmotion
from memobert_plugin.tasks.emotion import FinetuneConfig, MEmoBERTFinetuneTask
from memobert_plugin.tasks.utterance_dataset import Modalities, UtteranceDataset
from tests.data_bins import CorpusShape, make_data_bin
from tests.host import USER_DIR, run_commands

SHAPE = CorpusShape(speakers=4, utterances=12, absent=0.25)
LABELS = len(SHAPE.emotions)
Builder = Callable[[Any, int, int, int, int], nn.Module]


def small_corpus(folder: Path) -> Corpus:
    """48 utterances of 4 speakers, a quarter without faces and a quarter without speech."""
    return Corpus(make_data_bin(folder, SHAPE))


def task_of(corpus: Corpus, **flags: Any) -> MEmoBERTFinetuneTask:
    """The finetuning task on the first fold, without a trainer."""
    folder = str(corpus.path.parent / "run")
    of_host = {"save_dir": folder, "restore_file": "checkpoint_last.pt", "no_save": True, "no_last_checkpoints": False}
    config = FinetuneConfig(data=str(corpus.path), fold=1, seed=1, update_freq=[1], **of_host, **flags)  # type: ignore[arg-type]
    config._name = "memobert_finetune"
    return MEmoBERTFinetuneTask(OmegaConf.structured(config))


def dataset(corpus: Corpus, modalities: Modalities) -> UtteranceDataset:
    """All its utterances as the finetuning task shows them."""
    emotions = np.array([*range(LABELS), -1])
    target = OneEmotion((), emotions)
    return UtteranceDataset(corpus, np.arange(len(corpus)), Limits(60, 36, 64), modalities, target=target)


def batch(corpus: Corpus, case: str = "lva", utterances: range = range(12), mixture: bool = False) -> dict[str, Any]:
    """Some utterances as the finetuning task batches them."""
    return dataset(corpus, Modalities(case, mixture)).collater(list(utterances))


def logits(model: nn.Module, sample: dict[str, Any]) -> Tensor:
    """``(B, C)``."""
    return model(**sample["net_input"], head="classify", rows=first_rows(sample["net_input"]["text_lengths"]))


def shown_streams(model: StreamNetwork, corpus: Corpus, number: int, kept: set[str]) -> dict[str, Sequences]:
    """The vectors of one utterance, with one zero row for each modality that is not in ``kept``."""
    inputs = batch(corpus, utterances=range(number, number + 1))["net_input"]
    streams = model.streams(**inputs)
    for letter, (name, stream) in zip("lva", list(streams.items()), strict=True):
        if letter not in kept:
            streams[name] = Sequences(torch.zeros_like(stream.rows[:1]), np.ones(1, dtype=np.int64))
    return streams


def criterion() -> MEmoBERTFinetuneCriterion:
    """The finetuning criterion without its task."""
    return MEmoBERTFinetuneCriterion(SimpleNamespace())


def assert_shows_every_case(model: nn.Module, corpus: Corpus, case: str) -> None:
    """Finite logits of the right shape; only what the case shows reaches them."""
    model.eval()
    sample = batch(corpus, case)
    output = logits(model, sample)
    assert output.shape == (12, LABELS) and bool(output.isfinite().all())
    shown = {letter: sample["net_input"][name] for letter, name in zip("va", ("visual", "acoustic"), strict=True)}
    for letter, frames in shown.items():
        assert (len(frames) > 0) == (letter in case)
    assert (int(sample["net_input"]["text_lengths"].max()) > 2) == ("l" in case)


def assert_independent_of_the_batch(model: nn.Module, corpus: Corpus) -> None:
    """Alone, together and in another order, with a different modality missing in each: the same logits."""
    model.eval()
    together = logits(model, batch(corpus, mixture=True))
    alone = torch.cat([logits(model, batch(corpus, mixture=True, utterances=range(n, n + 1))) for n in range(12)])
    backwards = logits(model, batch(corpus, mixture=True, utterances=range(11, -1, -1))).flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, backwards, rtol=1e-5, atol=1e-5)


def assert_reads_the_asked_utterances(model: nn.Module, corpus: Corpus) -> None:
    """Rows of some [CLS] give those utterances' logits."""
    model.eval()
    sample = batch(corpus)
    every = logits(model, sample)
    rows = first_rows(sample["net_input"]["text_lengths"])[[1, 4, 11]]
    some = model(**sample["net_input"], head="classify", rows=rows)
    torch.testing.assert_close(some, every[[1, 4, 11]])


def assert_gradient_everywhere(
    model: nn.Module, sample: dict[str, Any], own: MEmoBERTFinetuneCriterion | None = None
) -> None:
    """Every parameter has a finite gradient, whatever the batch lacks."""
    model.train()
    loss, count, _ = (own or criterion())(model, sample)
    loss.backward()
    assert count == len(sample["id"])
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"{name} has no gradient"
        assert bool(parameter.grad.isfinite().all()), name


def assert_follows_the_precision(model: nn.Module, corpus: Corpus) -> None:
    """Stored half-precision frames are read by a model of any float type; float64 and float16 agree as they can."""
    model.eval()
    sample = batch(corpus)
    exact = logits(copy.deepcopy(model).double(), sample)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(logits(model, sample).double(), exact, rtol=1e-4, atol=1e-5)
    half = logits(copy.deepcopy(model).half(), sample)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), exact, rtol=0.05, atol=0.05)


def training_losses(
    model: nn.Module,
    corpus: Corpus,
    modalities: Modalities,
    updates: int,
    own: MEmoBERTFinetuneCriterion | None = None,
) -> list[float]:
    """Mean loss of each update on batches of 24."""
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=2e-3)
    data, losses = dataset(corpus, modalities), []
    for update in range(updates):
        data.set_epoch(update + 1)
        loss, count, _ = (own or criterion())(model, data.collater(list(range(update % 2, len(data), 2))))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
        losses.append(float(loss.detach()) / count)
    return losses


def train_and_validate(
    folder: Path, arch: str, *flags: str, shape: CorpusShape = SHAPE, first: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Train on a fold, evaluate the best checkpoint on its test speaker; the lines of the file of predictions.

    ``first`` are flags of a training whose best checkpoint the other one starts from.
    """
    data, best = str(make_data_bin(folder / "corpus", shape)), folder / "run" / "checkpoint_best.pt"
    shared = [data, "--user-dir", str(USER_DIR), "--task", "memobert_finetune", "--fold", "1", "--cpu"]
    shared += ["--num-workers", "0", "--batch-size", "8"]
    train = [
        "fairseq-train", *shared, "--criterion", "memobert_finetune", "--arch", arch,
        "--optimizer", "memobert_adamw", "--lr", "2e-3", "--max-epoch", "2", "--no-epoch-checkpoints",
        "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric", *(flags or ["--modality-mixture"]),
    ]  # fmt: skip
    before = {}
    if first:
        before["first"] = [*train, *first, "--save-dir", str(folder / "first")]
        train += ["--finetune-from-model", str(folder / "first" / "checkpoint_best.pt")]
    train += ["--save-dir", str(best.parent)]
    predictions = folder / "predictions.jsonl"
    validate = [
        "fairseq-validate", *shared, "--valid-subset", "test", "--path", str(best), "--predictions", str(predictions),
    ]  # fmt: skip
    finished = run_commands(folder, before, {"train": train}, {"validate": validate}, jobs=1)
    for name, command in finished.items():
        assert command.status == 0, f"{name}: {command.log[-2000:]}"
    return [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
