"""Every benchmark of loading and extracting runs with small arguments and writes its numbers, whatever they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "benchmark"
SMALL = {
    "loading": [
        "--utterances",
        "300",
        "--rounds",
        "1",
        "--batches",
        "2",
        "--max-tokens",
        "2000",
        "--workers",
        "0",
        "1",
    ],
    "loading_memory": ["--utterances", "300", "--epochs", "2", "--batches", "1", "--max-tokens", "2000"],
    "scale": ["--utterances", "300", "--updates", "1", "--max-tokens", "500"],
    "scale_length": ["--positions", "16", "--utterances", "200", "--updates", "1", "--max-tokens", "500"],
    "binarizing": ["--utterances", "3", "6", "--workers", "1", "--rounds", "1"],
    "extracting": ["--clips", "2", "3", "--workers", "1", "--rounds", "1"],
    "front_end_rivals": ["--faces", "2", "--rounds", "1"],
    "operations": ["--layers", "1", "--utterances", "2"],
    "suite": ["tests/nn/test_packing.py", "--longest", "2"],
    "startup": ["--commands", "memobert-inspect", "--without-host", "--rounds", "1"],
}


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def numbers(value: object) -> list[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, float) else []


@pytest.mark.slow
@pytest.mark.parametrize("script", SMALL)
def test_a_benchmark_writes_its_numbers(script: str, tmp_path: Path) -> None:
    output = tmp_path / "numbers.json"
    assert run(script, *SMALL[script], "--output", str(output))
    written = json.loads(output.read_text(encoding="utf-8"))
    assert written["benchmark"] == script and written["machine"]["cores"] >= 1
    measured = numbers({name: value for name, value in written.items() if name != "machine"})
    assert measured and min(measured) >= 0


def test_a_generated_corpus_is_a_data_bin_like_any_other(tmp_path: Path) -> None:
    import numpy as np

    from memobert_plugin.data.corpus import Corpus

    run("generated_corpus", "--utterances", "1000", "--output", str(tmp_path / "bin"))
    corpus = Corpus(tmp_path / "bin")
    assert len(corpus) == 1000 and corpus.utterance_ids([0, 999]) == ["utterance_00000000", "utterance_00000999"]
    assert corpus.load_tokenizer().symbols == corpus.symbols
    assert corpus.text_lengths.min() >= 1 and int(corpus.text.data.max()) < len(corpus.symbols)
    assert corpus.acoustic is not None
    np.testing.assert_array_equal(corpus.acoustic.sizes, corpus.acoustic_lengths * 768)
