"""Batches without padding: which utterances, which parts of them, and how many batches."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memobert_plugin.core.names import MODALITY_CASES
from memobert_plugin.data.batches import Limits
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.prompts import PromptPieces
from memobert_plugin.data.targets import OneEmotion
from memobert_plugin.data.vocabulary import SPECIALS
from memobert_plugin.tasks.utterance_dataset import Modalities, UtteranceDataset
from tests.data_bins import CorpusShape, make_data_bin

CLS, _, SEP, _ = range(len(SPECIALS))
NO_LIMITS = Limits(1000, 1000, 1000)
MODALITIES = ("text", "visual", "acoustic")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(make_data_bin(tmp_path_factory.mktemp("corpus"), CorpusShape(speakers=3, utterances=15)))


def dataset_of(corpus: Corpus, limits: Limits = NO_LIMITS, **options: Any) -> UtteranceDataset:
    modalities = options.pop("modalities", Modalities())
    return UtteranceDataset(corpus, options.pop("rows", np.arange(len(corpus))), limits, modalities, **options)


def batch_lengths(batch: dict[str, Any]) -> dict[str, list[int]]:
    return {name: batch["net_input"][f"{name}_lengths"].tolist() for name in MODALITIES}


def test_a_batch_holds_what_the_data_bin_holds(corpus: Corpus) -> None:
    rows = np.array([4, 0, 31, 17])
    batch = dataset_of(corpus, rows=rows, with_words=True).collater(range(len(rows)))
    pieces = [np.concatenate([[CLS], corpus.text.view(row), [SEP]]) for row in rows]
    assert np.array_equal(batch["net_input"]["text"], np.concatenate(pieces))
    assert np.array_equal(batch["pieces"], np.concatenate([corpus.text.view(row) for row in rows]))
    assert np.array_equal(batch["word_start"], np.concatenate([corpus.word_start.view(row) for row in rows]))
    for name, reader in (("visual", corpus.visual), ("acoustic", corpus.acoustic)):
        assert reader is not None
        frames = batch["net_input"][name]
        assert frames.dtype == torch.float16
        assert np.array_equal(frames.flatten(), np.concatenate([reader.view(row) for row in rows]))
    assert corpus.expression is not None
    assert np.array_equal(batch["expression"].flatten(), np.concatenate([corpus.expression.view(row) for row in rows]))
    assert np.array_equal(batch["uids"], corpus.uid[rows])
    assert batch["ntokens"] == sum(len(batch["net_input"][name]) for name in MODALITIES)
    assert batch["nsentences"] == len(rows)


def test_no_samples_make_the_empty_batch_that_fairseq_expects(corpus: Corpus) -> None:
    assert dataset_of(corpus).collater([]) == {}


def test_limits_cut_from_the_end_and_sizes_know_it(corpus: Corpus) -> None:
    dataset = dataset_of(corpus, Limits(3, 5, 7))
    batch = dataset.collater(range(len(dataset)))
    lengths = batch_lengths(batch)
    assert (max(lengths["text"]), max(lengths["visual"]), max(lengths["acoustic"])) == (5, 5, 7)
    assert dataset.sizes.tolist() == np.sum(list(lengths.values()), axis=0).tolist()
    row = int(np.argmax(corpus.visual_lengths))
    alone = dataset.collater([row])["net_input"]["visual"]
    assert corpus.visual is not None
    assert np.array_equal(alone.flatten(), corpus.visual.view(row)[: 5 * alone.shape[1]])


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_streams_that_are_not_shown_take_no_place(corpus: Corpus, case: str) -> None:
    dataset = dataset_of(corpus, Limits(5, 6, 7), modalities=Modalities(case))
    lengths = batch_lengths(dataset.collater(range(len(dataset))))
    assert dataset.sizes.tolist() == np.sum(list(lengths.values()), axis=0).tolist()


def test_a_prompt_is_never_cut_and_no_utterance_is_larger_than_its_size(corpus: Corpus) -> None:
    prompt = PromptPieces([7, 8, 4, 5], mask_offset=2)
    dataset = dataset_of(corpus, Limits(3, 0, 0), prompt=prompt)
    batch = dataset.collater(range(len(dataset)))
    text, lengths = batch["net_input"]["text"], batch["net_input"]["text_lengths"]
    ends = np.cumsum(lengths)
    assert all(text[end - 5 : end].tolist() == [*prompt.ids, SEP] for end in ends)
    assert batch["mask_rows"].tolist() == (ends - 3).tolist()
    assert (lengths <= dataset.sizes).all()


@pytest.mark.parametrize("case", MODALITY_CASES)
def test_a_modality_case_shows_only_its_modalities(corpus: Corpus, case: str) -> None:
    everything = batch_lengths(dataset_of(corpus).collater(range(len(corpus))))
    shown = batch_lengths(dataset_of(corpus, modalities=Modalities(case)).collater(range(len(corpus))))
    nothing = {"text": [2] * len(corpus), "visual": [0] * len(corpus), "acoustic": [0] * len(corpus)}
    for letter, name in zip("lva", MODALITIES, strict=True):
        assert shown[name] == (everything if letter in case else nothing)[name]


def test_the_mixture_draws_new_cases_every_epoch_and_never_shows_nothing(corpus: Corpus) -> None:
    modalities = Modalities("lva", mixture=True, seed=1)
    present = np.ones((3, 6000), dtype=bool)
    uids = np.arange(6000, dtype=np.uint64)
    kept = modalities.kept(present, uids, epoch=1)
    cases = ["".join(letter for letter, shown in zip("lva", column, strict=True) if shown) for column in kept.T]
    counts = {case: cases.count(case) for case in MODALITY_CASES}
    assert sum(counts.values()) == 6000 and all(abs(count - 6000 / 7) < 130 for count in counts.values())
    assert not np.array_equal(kept, modalities.kept(present, uids, epoch=2))
    only_text = np.array([[True], [False], [False]]).repeat(50, axis=1)
    assert np.array_equal(modalities.kept(only_text, uids[:50], epoch=1), only_text)


def test_the_mixture_of_an_utterance_does_not_depend_on_its_batch(corpus: Corpus) -> None:
    dataset = dataset_of(corpus, modalities=Modalities("lva", mixture=True, seed=5))
    together = batch_lengths(dataset.collater(range(10)))
    for index in range(10):
        alone = batch_lengths(dataset.collater([index]))
        assert {name: lengths[index : index + 1] for name, lengths in together.items()} == alone


@settings(deadline=None, max_examples=60)
@given(
    max_tokens=st.none() | st.integers(1, 300),
    max_sentences=st.none() | st.integers(1, 20),
    divisible=st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_every_utterance_is_in_one_batch_and_the_batches_can_be_shared_out(
    corpus: Corpus, max_tokens: int | None, max_sentences: int | None, divisible: int, seed: int
) -> None:
    dataset = dataset_of(corpus, Limits(30, 36, 64))
    dataset.batches_divisible_by = divisible
    indices = np.random.default_rng(seed).permutation(len(dataset))
    batches = dataset.batch_by_size(indices, max_tokens, max_sentences)
    assert sorted(np.concatenate(batches)) == sorted(indices)
    assert len(batches) % divisible == 0
    dataset.batches_divisible_by = 1
    if len(dataset.batch_by_size(indices, max_tokens, max_sentences)) <= len(batches):  # none had to be joined
        for batch in batches:
            assert len(batch) <= (max_sentences or len(dataset))
            assert len(batch) == 1 or max_tokens is None or dataset.sizes[batch].sum() <= max_tokens


def test_batches_follow_the_order_and_fill_up_to_the_limit(corpus: Corpus) -> None:
    dataset = dataset_of(corpus)
    indices = np.random.default_rng(0).permutation(len(dataset))
    batches = dataset.batch_by_size(indices, max_tokens=150)
    assert np.concatenate(batches).tolist() == indices.tolist()
    for batch, following in pairwise(batches):
        assert dataset.sizes[batch].sum() + dataset.sizes[following[0]] > 150


def test_single_utterances_are_joined_where_no_batch_can_be_halved(corpus: Corpus) -> None:
    dataset = dataset_of(corpus)
    dataset.batches_divisible_by = 4
    batches = dataset.batch_by_size(np.arange(len(dataset)), max_sentences=1)
    assert [len(batch) for batch in batches] == [1] * 43 + [2]
    assert set(batches[-1]) == set(np.argsort(dataset.sizes, kind="stable")[:2])


def test_too_few_utterances_stay_as_they_are(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    dataset = dataset_of(corpus, rows=np.arange(3))
    dataset.batches_divisible_by = 8
    assert [batch.tolist() for batch in dataset.batch_by_size(np.arange(3), None, 2)] == [[0, 1], [2]]
    assert "3 utterances are too few for 8 micro-batches per update" in caplog.text


def test_no_utterance_makes_no_batch(corpus: Corpus) -> None:
    assert len(dataset_of(corpus).batch_by_size(np.arange(0), 100, 4)) == 0


def test_the_order_is_drawn_in_training_only(corpus: Corpus) -> None:
    np.random.seed(1)
    training = dataset_of(corpus, shuffle=True).ordered_indices()
    assert training.tolist() != list(range(len(corpus))) and sorted(training) == list(range(len(corpus)))
    assert dataset_of(corpus).ordered_indices().tolist() == list(range(len(corpus)))


def test_an_epoch_reaches_copies_of_the_dataset_through_shared_memory(corpus: Corpus) -> None:
    """As in fairseq's persistent workers, which keep the copy they were started with."""
    dataset = dataset_of(corpus, modalities=Modalities("lva", mixture=True, seed=2))
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        dataset,
        batch_sampler=[list(range(len(dataset)))],
        collate_fn=dataset.collater,
        num_workers=2,
        persistent_workers=True,
    )
    seen = []
    for epoch in (1, 2, 3):
        dataset.set_epoch(epoch)
        [batch] = list(loader)
        assert batch_lengths(batch) == batch_lengths(dataset.collater(range(len(dataset))))
        seen.append(batch_lengths(batch))
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_a_pickled_dataset_reads_the_same(corpus: Corpus) -> None:
    dataset = dataset_of(corpus, with_words=True)
    copy = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 50_000
    before, after = dataset.collater([1, 5]), copy.collater([1, 5])
    assert torch.equal(before["net_input"]["visual"], after["net_input"]["visual"])
    assert torch.equal(before["net_input"]["text"], after["net_input"]["text"])


def test_a_corpus_without_frames_makes_batches_without_frames(tmp_path: Path) -> None:
    text_only = Corpus(make_data_bin(tmp_path, CorpusShape(speakers=1, utterances=4, visual_dim=0, acoustic_dim=0)))
    batch = dataset_of(text_only, with_words=True).collater([0, 1])
    assert batch_lengths(batch)["visual"] == batch_lengths(batch)["acoustic"] == [0, 0]
    assert "expression" not in batch


def test_zero_frames_stand_for_what_an_utterance_lacks(corpus: Corpus) -> None:
    plain, filled = (
        dataset_of(corpus, Limits(30, 5, 7), modalities=Modalities(zero_frames=zero), with_words=True)
        for zero in (False, True)
    )
    before, after = (dataset.collater(range(len(corpus))) for dataset in (plain, filled))
    for name in ("visual", "acoustic"):
        lengths, filled_lengths = (batch["net_input"][f"{name}_lengths"] for batch in (before, after))
        lacking = lengths == 0
        assert lacking.any() and (filled_lengths == np.maximum(lengths, 1)).all()
        stands_in = torch.from_numpy(np.repeat(lacking, filled_lengths))
        frames = after["net_input"][name]
        assert not frames[stands_in].any() and torch.equal(frames[~stands_in], before["net_input"][name])
        if name == "visual":
            classes = list(corpus.meta.expression_classes)
            expected = [float(label == "neutral") if "neutral" in classes else 1 / len(classes) for label in classes]
            assert np.allclose(after["expression"][stands_in], expected, atol=1e-3)
            assert torch.equal(after["expression"][~stands_in], before["expression"])
    assert after["ntokens"] == filled.sizes.sum() > before["ntokens"] == plain.sizes.sum()


def test_zero_frames_are_for_the_modalities_shown(corpus: Corpus) -> None:
    batch = dataset_of(corpus, modalities=Modalities("la", zero_frames=True)).collater(range(len(corpus)))
    assert not batch["net_input"]["visual_lengths"].any() and batch["net_input"]["acoustic_lengths"].all()


def test_mixed_streams_come_from_utterances_of_the_same_emotion(corpus: Corpus) -> None:
    rows = np.arange(0, len(corpus), 2)
    emotions = np.array([*range(len(corpus.meta.labels)), -1])
    dataset = dataset_of(corpus, rows=rows, modalities=Modalities(mix_streams=True), target=OneEmotion((), emotions))
    assert corpus.visual is not None and corpus.acoustic is not None
    seen = set()
    for epoch in range(4):
        dataset.set_epoch(epoch)
        for index, row in enumerate(rows):
            batch = dataset.collater([index])
            assert batch["net_input"]["text"].tolist()[1:-1] == corpus.text.view(row).tolist()
            for name, reader in (("visual", corpus.visual), ("acoustic", corpus.acoustic)):
                shown = batch["net_input"][name].numpy().ravel()
                of = {int(other) for other in rows if np.array_equal(reader.view(other), shown)}
                same = {int(other) for other in rows if corpus.emotion[other] == corpus.emotion[row]}
                assert of and of <= same
                seen |= {(int(row), other) for other in of}
    assert len(seen) > 3 * len(rows)


def test_no_utterance_of_mixed_streams_is_larger_than_its_size(corpus: Corpus) -> None:
    emotions = np.array([*range(len(corpus.meta.labels)), -1])
    modalities = Modalities(mix_streams=True)
    dataset = dataset_of(corpus, Limits(30, 9, 1000), modalities=modalities, target=OneEmotion((), emotions))
    for epoch in range(20):
        dataset.set_epoch(epoch)
        lengths = batch_lengths(dataset.collater(range(len(dataset))))
        assert (np.sum(list(lengths.values()), axis=0) <= dataset.sizes).all()


def test_all_modalities_are_drawn_as_often_as_their_weight_says(corpus: Corpus) -> None:
    uids = np.arange(20_000, dtype=np.uint64)
    kept = Modalities("lva", mixture=True, full_weight=3).kept(np.ones((3, len(uids)), bool), uids, 1)
    assert kept.all(axis=0).mean() == pytest.approx(3 / 9, abs=0.02)
