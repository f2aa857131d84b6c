"""cLSTM-MMA: its size, attention and recurrence against plain computations, dialogues, a run of fairseq."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from memobert_plugin.comparators.base import ComparatorConfig
from memobert_plugin.comparators.clstm_mma import ClstmMma, ClstmMmaConfig
from memobert_plugin.comparators.early_fusion import EarlyFusionConfig
from memobert_plugin.core.errors import UserError
from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.batches import Limits
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.targets import OneEmotion
from memobert_plugin.tasks.dialogues import in_dialogues
from memobert_plugin.tasks.utterance_dataset import Modalities, UtteranceDataset
from tests.comparators import checks
from tests.data_bins import make_data_bin

SHAPE = replace(checks.SHAPE, dialogues=True)


def build(corpus: Corpus, **sizes: Any) -> ClstmMma:
    torch.manual_seed(0)
    shape = checks.SHAPE
    return ClstmMma(ClstmMmaConfig(**sizes), len(corpus.symbols), shape.visual_dim, shape.acoustic_dim, checks.LABELS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(make_data_bin(tmp_path_factory.mktemp("corpus"), SHAPE))


def dialogues(corpus: Corpus, rows: np.ndarray, context: np.ndarray) -> UtteranceDataset:
    ordered, found = in_dialogues(corpus, rows, context)
    emotions = np.array([*range(checks.LABELS), -1])
    limits = Limits(60, 36, 64)
    target = OneEmotion((), emotions)
    return UtteranceDataset(corpus, ordered, limits, Modalities(), target=target, shuffle=True, dialogues=found)


def test_it_has_the_published_number_of_parameters() -> None:
    """1.27 million at inputs of 100, 512 and 100; the words' vectors are not counted."""
    model = ClstmMma(ClstmMmaConfig(encoder_embed_dim=100), 50, 512, 100, 4)
    count = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("text_embedder."))
    assert count == 1_274_504


def plain(model: ClstmMma, inputs: dict[str, Any], lengths: list[int]) -> Tensor:
    """The same network on one utterance, and one dialogue, at a time, with torch's own cells."""
    counts = [inputs[f"{name}_lengths"].tolist() for name in ("text", "visual", "acoustic")]
    parts = [
        model.text_embedder.word.weight[inputs["text"]].split(counts[0]),  # type: ignore[union-attr]
        inputs["visual"].double().split(counts[1]),
        inputs["acoustic"].double().split(counts[2]),
    ]
    attended = []
    for text, visual, acoustic in zip(*parts, strict=True):
        vectors = []
        for name, rows in (("text", text), ("visual", visual), ("acoustic", acoustic)):
            present = len(rows) > (2 if name == "text" else 0)
            vector = rows.mean(dim=0) if present else rows.new_zeros(rows.shape[1])
            vectors.append(torch.relu(model.project[name](vector)))
        mapped = [model.attention.maps[name](x).chunk(3) for name, x in zip(model.widths, vectors, strict=True)]
        for x, (query, _, _) in zip(list(vectors), mapped, strict=True):
            scores = torch.stack([functional.cosine_similarity(query, key, dim=0) for _, key, _ in mapped])
            values = torch.stack([value for _, _, value in mapped])
            vectors.append(x + scores.softmax(0) @ values)
        attended.append(torch.cat(vectors[3:]))
    hidden = [model.lstm(one)[0] for one in torch.stack(attended).split(lengths)]
    first, last = model.classifier[1], model.classifier[4]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    return last(torch.relu(first(torch.relu(torch.cat(hidden)))))


def test_logits_equal_a_plain_computation(corpus: Corpus) -> None:
    model = build(corpus).double().eval()
    data = dialogues(corpus, np.arange(48), np.arange(0))
    sample = data.collater(np.concatenate(data.dialogues.items[:2]).tolist())  # type: ignore[union-attr]
    lengths = sample["net_input"]["dialogue_lengths"]
    assert lengths.tolist() == [12, 12]
    torch.testing.assert_close(checks.logits(model, sample), plain(model, sample["net_input"], lengths.tolist()))


def test_a_dialogue_is_read_in_order_and_does_not_see_what_comes_later(corpus: Corpus) -> None:
    data = dialogues(corpus, np.arange(48), np.arange(0))
    assert data.dialogues is not None and corpus.order is not None
    first = data.dialogues.items[0]
    dialogue, start = (array[data.rows[first]] for array in corpus.order)
    assert len(set(dialogue)) == 1 and (np.diff(start) > 0).all()
    assert {int(speaker) for speaker in corpus.speaker[data.rows[first]]} == {0, 1}
    model = build(corpus).eval()
    whole = checks.logits(model, data.collater(first.tolist()))
    torch.testing.assert_close(checks.logits(model, data.collater(first[:5].tolist())), whole[:5])
    assert not torch.allclose(checks.logits(model, data.collater(first[5:].tolist())), whole[5:])


def test_context_is_read_and_not_classified(corpus: Corpus) -> None:
    """Other speakers' utterances of the same dialogues are in the batch, without target and decision."""
    own = np.flatnonzero(corpus.speaker == 0)
    data = dialogues(corpus, own, np.arange(48))
    assert data.dialogues is not None
    items = np.concatenate(data.dialogues.items)
    assert len(items) == 24 and sorted(data.rows[items[data.dialogues.read[items]]]) == own.tolist()
    sample = data.collater(items.tolist())
    model = build(corpus)
    _, count, logged = checks.criterion()(model, sample)
    assert len(sample["target"]) == count == 12 == int(logged["confusion"].sum())
    assert sorted(data.rows[sample["id"].numpy()]) == own.tolist()
    alone = dialogues(corpus, own, np.arange(0))
    model.eval()
    with_context, without = (
        checks.criterion().decide(model, one.collater(one.ordered_indices().tolist())) for one in (data, alone)
    )
    assert with_context.probabilities.shape == without.probabilities.shape
    assert not torch.allclose(with_context.probabilities.sort(0)[0], without.probabilities.sort(0)[0])


def test_batches_hold_whole_dialogues_and_count_them(corpus: Corpus) -> None:
    data = dialogues(corpus, np.arange(48), np.arange(0))
    assert data.dialogues is not None
    np.random.seed(1)
    batches = data.batch_by_size(data.ordered_indices(), max_sentences=3)
    assert sorted(map(len, batches)) == [12, 36]
    assert sorted(np.concatenate(batches).tolist()) == list(range(48))
    data.batches_divisible_by = 3
    divided = data.batch_by_size(data.ordered_indices(), max_sentences=3)
    assert len(divided) == 3 and {len(batch) % 12 for batch in divided} == {0}
    by_tokens = data.batch_by_size(data.ordered_indices(), max_tokens=int(data.sizes.sum()) // 2)
    assert {len(batch) % 12 for batch in by_tokens} == {0} and len(by_tokens) > 1


def test_a_corpus_without_order_is_refused(tmp_path: Path) -> None:
    data_bin = make_data_bin(tmp_path, checks.SHAPE)
    rows = np.arange(4)
    for remove in (False, True):
        if remove:  # as written by an earlier version
            (data_bin / "dialogue.npy").unlink()
        with pytest.raises(UserError, match=r"--dialogues: .*bin does not say which utterances follow each other"):
            in_dialogues(Corpus(data_bin), rows, rows)


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_every_modality_case_gives_logits_and_gradients(corpus: Corpus, case: str) -> None:
    checks.assert_shows_every_case(build(corpus), corpus, case)
    checks.assert_gradient_everywhere(build(corpus), checks.batch(corpus, case))


def test_an_utterance_does_not_depend_on_other_dialogues_of_its_batch(corpus: Corpus) -> None:
    checks.assert_independent_of_the_batch(build(corpus), corpus)


def test_only_the_asked_utterances_are_returned(corpus: Corpus) -> None:
    checks.assert_reads_the_asked_utterances(build(corpus), corpus)


def test_any_float_type_reads_stored_frames(corpus: Corpus) -> None:
    checks.assert_follows_the_precision(build(corpus), corpus)


def test_a_tiny_corpus_is_learned(corpus: Corpus) -> None:
    losses = checks.training_losses(build(corpus), corpus, Modalities(), updates=24)
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


@pytest.mark.parametrize(
    ("config", "dialogues", "message"),
    [
        (ClstmMmaConfig(_name="memobert_clstm_mma"), False, "memobert_clstm_mma: give --dialogues"),
        (EarlyFusionConfig(_name="memobert_early_fusion"), True, "memobert_early_fusion: leave out --dialogues"),
    ],
)
def test_dialogues_and_architecture_go_together(
    corpus: Corpus, config: ComparatorConfig, dialogues: bool, message: str
) -> None:
    task = checks.task_of(corpus, dialogues=dialogues)
    with pytest.raises(SystemExit, match=message):
        task.build_model(OmegaConf.structured(config))
    task.cfg.dialogues = not dialogues
    assert task.build_model(OmegaConf.structured(config)) is not None


@pytest.mark.slow
def test_fairseq_trains_and_evaluates_a_fold(tmp_path: Path) -> None:
    lines = checks.train_and_validate(tmp_path, "memobert_clstm_mma", "--dialogues", shape=SHAPE)
    assert len(lines) == SHAPE.utterances
    assert {line["speaker"] for line in lines} == {"spk0"}
