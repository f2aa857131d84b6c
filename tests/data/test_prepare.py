"""Rows are prepared in order by any number of processes, a few chunks ahead."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from memobert_plugin.core.errors import UserError
from memobert_plugin.data import prepare
from memobert_plugin.data.binarize import binarize
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.manifest import ManifestRow
from memobert_plugin.data.tokenizer import SentencePieceTokenizer, WordPieceTokenizer, train_sentencepiece
from tests.data.sources import ACOUSTIC_DIM, Sources, frames, write_vocabulary


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ROWS_PER_CHUNK", 7)
    sources = Sources(tmp_path, utterances=50)
    sources.put("acoustic", "film/30", frames(2, ACOUSTIC_DIM + 1))
    one, two = (sources.binarize(str(workers), workers=workers) for workers in (1, 2))
    assert dataclasses.replace(one, output=two.output, skipped_file=two.skipped_file) == two
    assert digests(one.output) == digests(two.output)
    assert len(Corpus(one.output)) == 49


def test_sentencepiece_works_in_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ROWS_PER_CHUNK", 7)
    sources = Sources(tmp_path, utterances=40)
    train_sentencepiece([row.text for row in sources.rows], 100, tmp_path / "m.model")
    tokenizer = SentencePieceTokenizer.from_model(tmp_path / "m.model")
    sources.binarize("unused")
    outputs = [
        binarize(sources.manifest, None, None, tokenizer, tmp_path / str(workers), workers=workers).output
        for workers in (1, 2)
    ]
    assert digests(outputs[0]) == digests(outputs[1])
    corpus = Corpus(outputs[0])
    assert corpus.meta.tokenizer == "sentencepiece"
    assert corpus.load_tokenizer().symbols == corpus.symbols == tokenizer.symbols
    np.testing.assert_array_equal(corpus.text.view(3), tokenizer.encode(sources.rows[3].text)[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_taken_only_a_few_chunks_ahead(tmp_path: Path, workers: int) -> None:
    """So memory does not grow with the corpus."""
    taken = 0

    def rows() -> Iterator[ManifestRow]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield ManifestRow(number, str(number), text="cat")

    tokenizer = WordPieceTokenizer.from_vocab(write_vocabulary(tmp_path))
    tokenizer.save(tmp_path)
    prepared = prepare.prepare_rows(rows(), prepare.FeatureFolders(None, None), tokenizer, tmp_path, workers)
    assert next(prepared).row.id == "0"
    assert taken <= 10 * prepare.ROWS_PER_CHUNK
    prepared.close()


def test_a_worker_that_dies_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it cannot open the tokenizer; a lack of memory looks the same."""
    monkeypatch.setattr(prepare, "ROWS_PER_CHUNK", 1)
    tokenizer = WordPieceTokenizer.from_vocab(write_vocabulary(tmp_path))
    rows = [ManifestRow(number, str(number), text="cat") for number in range(20)]
    prepared = prepare.prepare_rows(rows, prepare.FeatureFolders(None, None), tokenizer, tmp_path / "none", 2)
    with pytest.raises(UserError, match="a worker process died"):
        list(prepared)
