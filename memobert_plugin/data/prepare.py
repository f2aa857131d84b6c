"""Prepare manifest rows for a data-bin (pieces and frames), in one process or several, in order."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ..core.errors import UserError
from .frames import Frames, frame_file, frame_name, read_frames, read_half_frames, to_float16, visual_frames
from .manifest import ManifestRow
from .speakers import SpeakerMeans
from .tokenizer import Pieces, Tokenizer, load_tokenizer

ROWS_PER_CHUNK = 128
_CHUNKS_AHEAD = 4
_CHUNKS_WORTH_WORKERS = 5


@dataclass(frozen=True, slots=True)
class PreparedUtterance:
    """A manifest row with its pieces and frames, or with the reason why it cannot be used."""

    row: ManifestRow
    ids: np.ndarray
    """(n,) int32 dictionary rows."""
    word_start: np.ndarray
    """(n,) uint8."""
    visual: np.ndarray | None = None
    """(T, D) float16; None where the utterance lacks the modality."""
    expression: np.ndarray | None = None
    """(T, K) float16."""
    acoustic: np.ndarray | None = None
    """(T, D) float16; None where the utterance lacks the modality."""
    defect: str = ""


@dataclass(frozen=True, slots=True)
class FeatureFolders:
    """The folders of frames; None leaves a modality out.

    ``visual_input`` is one of ``VISUAL_INPUTS``; ``speaker_means`` are subtracted from speech frames.
    """

    visual: Path | None
    acoustic: Path | None
    visual_input: str = "features"
    speaker_means: SpeakerMeans | None = None

    @property
    def given(self) -> dict[str, bool]:
        """Return for ``visual`` and ``acoustic`` whether there is a folder."""
        return {"visual": self.visual is not None, "acoustic": self.acoustic is not None}


def prepare_rows(
    rows: Iterable[ManifestRow], folders: FeatureFolders, tokenizer: Tokenizer, tokenizer_folder: Path, workers: int
) -> Generator[PreparedUtterance, None, None]:
    """Prepare rows in order, with ``workers`` processes if there is enough to do.

    Memory stays flat: only a few chunks of rows are in work at a time.

    Args:
        rows: the manifest's rows.
        folders: the folders of their frames.
        tokenizer: used in this process.
        tokenizer_folder: the same tokenizer saved, for the other processes.
        workers: number of processes.

    Raises:
        UserError: a worker process died.
    """
    stream = iter(rows)
    chunks = iter(lambda: list(islice(stream, ROWS_PER_CHUNK)), [])
    first = list(islice(chunks, _CHUNKS_WORTH_WORKERS))
    all_chunks = chain(first, chunks)
    if workers <= 1 or len(first) < _CHUNKS_WORTH_WORKERS:
        for chunk in all_chunks:
            yield from prepare_chunk(chunk, folders, tokenizer)
        return
    yield from _prepared_by_workers(all_chunks, folders, tokenizer_folder, workers)


def _prepared_by_workers(
    chunks: Iterable[list[ManifestRow]], folders: FeatureFolders, tokenizer_folder: Path, workers: int
) -> Iterator[PreparedUtterance]:
    import multiprocessing
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (folders, tokenizer_folder)) as pool:
        running: deque[Future[list[PreparedUtterance]]] = deque()
        try:
            for chunk in chunks:
                running.append(pool.submit(_prepare_in_worker, chunk))
                if len(running) >= _CHUNKS_AHEAD * workers:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool:
            raise UserError("a worker process died, perhaps for lack of memory; give fewer --workers") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def prepare_chunk(
    rows: Sequence[ManifestRow], folders: FeatureFolders, tokenizer: Tokenizer
) -> list[PreparedUtterance]:
    """Tokenize the rows' texts and read their frames."""
    pieces = tokenizer.encode_batch([row.text for row in rows])
    with np.errstate(over="ignore"):
        return [_prepare(row, encoded, folders) for row, encoded in zip(rows, pieces, strict=True)]


def _prepare(row: ManifestRow, pieces: Pieces, folders: FeatureFolders) -> PreparedUtterance:
    ids, word_start = pieces
    try:
        visual = _half_frames(folders.visual, row.id)
        acoustic = _speech_frames(folders, row)
        shown = visual_frames(visual, folders.visual_input) if visual else None
    except UserError as error:
        return PreparedUtterance(row, ids, word_start, defect=str(error))
    if not len(ids) and visual is None and acoustic is None:
        return PreparedUtterance(row, ids, word_start, defect="empty text and no frames")
    return PreparedUtterance(
        row,
        ids,
        word_start,
        visual=shown,
        expression=visual.expression if visual else None,
        acoustic=acoustic.frames if acoustic else None,
    )


def _speech_frames(folders: FeatureFolders, row: ManifestRow) -> Frames | None:
    """Return an utterance's speech frames in float16, less their speaker's mean if that is asked for."""
    if folders.acoustic is None or folders.speaker_means is None:
        return _half_frames(folders.acoustic, row.id)
    path = frame_file(folders.acoustic, row.id)
    found = read_frames(path)
    if found is None or not found.frames.size:
        return None
    return Frames(to_float16(path, "frames", folders.speaker_means.subtracted(found.frames, row.speaker)))


def _half_frames(folder: Path | None, utterance_id: str) -> Frames | None:
    """Return an utterance's frames in float16; None without a file, or without a frame in it."""
    if folder is None:
        return None
    found = read_half_frames(os.path.join(folder, frame_name(utterance_id)))
    return None if found is None or not found.frames.size else found


_worker_inputs: tuple[FeatureFolders, Tokenizer]


def _start_worker(folders: FeatureFolders, tokenizer_folder: Path) -> None:
    from ..core.processes import start_as_worker

    global _worker_inputs
    start_as_worker()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker_inputs = folders, load_tokenizer(tokenizer_folder)


def _prepare_in_worker(rows: list[ManifestRow]) -> list[PreparedUtterance]:
    return prepare_chunk(rows, *_worker_inputs)
