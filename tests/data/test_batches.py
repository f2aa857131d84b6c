"""Frames of a batch come out as they lie in the container, wherever they are written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from memobert_plugin.data import batches as gathering
from memobert_plugin.data.batches import FramesWanted, gather_frames, gather_pieces, without_some_frames
from memobert_plugin.data.indexed import IndexedReader, IndexedWriter

WIDTH = 300


@pytest.fixture
def clips() -> list[np.ndarray]:
    """Frames of four utterances, one without any; some reach over pages of memory."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(frames, WIDTH)).astype(np.float16) for frames in (9, 0, 40, 1)]


@pytest.fixture
def reader(tmp_path: Path, clips: list[np.ndarray]) -> IndexedReader:
    with IndexedWriter(tmp_path / "frames", np.float16) as writer:
        for clip in clips:
            writer.add(clip)
    return IndexedReader(tmp_path / "frames", np.float16)


@pytest.mark.parametrize("in_worker", [False, True])
def test_the_first_frames_of_each_utterance_in_the_order_asked_for(
    monkeypatch: pytest.MonkeyPatch, reader: IndexedReader, clips: list[np.ndarray], in_worker: bool
) -> None:
    if in_worker:
        monkeypatch.setattr(gathering, "get_worker_info", lambda: object())
    rows, lengths = np.array([3, 2, 1, 0]), np.array([1, 33, 0, 5])
    none = FramesWanted(rows, None, np.zeros(4, np.int64), 7)
    frames = gather_frames({"visual": FramesWanted(rows, reader, lengths, WIDTH), "acoustic": none})
    expected = np.concatenate([clips[row][:length] for row, length in zip(rows, lengths, strict=True)])
    np.testing.assert_array_equal(frames["visual"].numpy(), expected)
    assert frames["acoustic"].shape == (0, 7)
    assert frames["visual"].is_shared() == in_worker  # fairseq would otherwise copy it once more


def test_frames_are_copies(reader: IndexedReader, clips: list[np.ndarray]) -> None:
    frames = gather_frames({"visual": FramesWanted(np.array([0]), reader, np.array([9]), WIDTH)})
    frames["visual"].zero_()
    np.testing.assert_array_equal(reader.view(0).reshape(-1, WIDTH), clips[0])


def test_pieces_in_the_type_asked_for(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "text", np.uint16) as writer:
        for ids in ([7, 60000, 9], [4]):
            writer.add(np.array(ids, np.uint16))
    pieces = gather_pieces(IndexedReader(tmp_path / "text"), np.array([1, 0]), np.array([1, 2]), np.int64)
    assert pieces.dtype == np.int64 and pieces.tolist() == [4, 7, 60000]


def test_left_out_frames_follow_from_seed_update_and_utterance_and_one_always_stays() -> None:
    uids, lengths = np.array([11, 5, 9], np.uint64), np.array([40, 1, 0])
    frames = torch.arange(41, dtype=torch.float16)[:, None]
    inputs = {"visual": frames, "visual_lengths": lengths, "acoustic": frames[:0], "acoustic_lengths": lengths * 0}
    kept = [without_some_frames(inputs, uids, 1, update, 0.6) for update in range(50)]
    counts = np.array([found["visual_lengths"] for found in kept])
    assert (counts[:, 1] == 1).all() and (counts[:, 2] == 0).all()
    assert 40 * 0.6 < counts[:, 0].mean() < 40 * 0.8 and len(set(counts[:, 0].tolist())) > 5
    assert all(len(found["visual"]) == found["visual_lengths"].sum() for found in kept)
    assert all((np.diff(found["visual"][:, 0].numpy()) > 0).all() for found in kept)

    order = np.array([1, 2, 0])
    shuffled = {**inputs, "visual": torch.cat([frames[40:], frames[:40]]), "visual_lengths": lengths[order]}
    other = without_some_frames(shuffled, uids[order], 1, 7, 0.6)
    assert other["visual"][1:, 0].tolist() == kept[7]["visual"][:-1, 0].tolist()
    assert frames.shape == (41, 1)
