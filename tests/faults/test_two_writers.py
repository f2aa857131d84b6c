"""Two processes and one output: the second ends with one line and a status, and the first's result is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.checkpoints.bundle import read_bundle
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.manifest import ManifestRow, read_manifest, write_manifest
from tests.data_bins import CorpusShape, make_data_bin
from tests.films import Cue
from tests.inference.models import trained_checkpoint
from tests.sweep.sweeps import plan_values, write_plan
from tests.talking_faces import DrawnFace, write_talking_film

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import {module}; {module}.cli_main()"
HOLDING_COMMAND = """
import sys, {module}, {where}
real = {where}.{what}
def slow(*args, **kwargs):
    print("inside", flush=True)
    sys.stdin.readline()
    return real(*args, **kwargs)
{where}.{what} = slow
{module}.cli_main()
"""


@dataclass(frozen=True)
class Writer:
    """A command that writes a folder.

    Attributes:
        module: the command's.
        flags: its arguments.
        where: the module of ``what``.
        what: a function that it calls while it is writing, which is made to wait.
        said: by the second process.
    """

    module: str
    flags: list[str]
    where: str
    what: str
    said: str = "another process is writing it"

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", code.format(**vars(self)), *self.flags],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


@pytest.fixture
def first_and_second() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_data_bin(folder, CorpusShape(speakers=4, utterances=6))
    return folder


def binarize(corpus: Path, output: Path) -> Writer:
    flags = ["--manifest", corpus / "manifest.tsv", "--vocab", corpus / "vocab.txt", "--output", output]
    module = "memobert_plugin.data.binarize"
    return Writer("memobert_plugin.cli.binarize", [*map(str, flags)], module, "CorpusWriter")


def extract_acoustic(corpus: Path, output: Path) -> Writer:
    soundfile.write(output.parent / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    write_manifest(output.parent / "m.tsv", [ManifestRow(0, id="u1", audio="a.wav")])
    flags = ["acoustic", "--manifest", output.parent / "m.tsv", "--output", output]
    module = "memobert_plugin.features.extraction.job"
    said = "another extraction writes to it"
    return Writer("memobert_plugin.cli.extract", [*map(str, flags)], module, "write_failures", said)


def extract_film(corpus: Path, output: Path) -> Writer:
    films = output.parent / "films"
    films.mkdir()
    write_talking_film(films, "one", [DrawnFace(talks=((0.0, 2.0),))], [Cue(0.0, 2.0, "I said hello!")], 3.0)
    flags = [
        "film", films / "one.mp4", "--output", output, "--faces", "tracker", "--tracker", films / "tracks",
        "--voice", "energy",
    ]  # fmt: skip
    module = "memobert_plugin.features.extraction.films.job"
    return Writer("memobert_plugin.cli.extract", [*map(str, flags)], module, "run_job")


def export(corpus: Path, output: Path) -> Writer:
    checkpoint = trained_checkpoint(corpus / "bin", "memobert_prompt", output.parent / "prompt.pt", updates=1)
    module = "memobert_plugin.checkpoints.bundle"
    return Writer("memobert_plugin.cli.export", [str(checkpoint), str(output)], module, "model_card")


def sweep(corpus: Path, output: Path) -> Writer:
    values = plan_values(corpus / "bin", settings=["direct"], folds=[1])
    plan = write_plan(output.parent, values)
    flags = [str(plan), "--output", str(output), "--jobs", "1"]
    said = "another memobert-sweep is at work there"
    return Writer("memobert_plugin.cli.sweep", flags, "memobert_plugin.sweep.local", "run_locally", said)


CHECKS = {
    binarize: lambda output: len(Corpus(output)) == 24,
    extract_acoustic: lambda output: (output / "u1.npz").is_file(),
    extract_film: lambda output: [row.id for row in read_manifest(output / "manifest.tsv")] == ["one_00001"],
    export: lambda output: read_bundle(output).description.kind == "prompt",
    sweep: lambda output: json.loads((output / "sweep.json").read_text())["format"] == 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("writer", CHECKS, ids=lambda writer: writer.__name__)
def test_the_second_of_two_writers_says_so_and_damages_nothing(
    writer: object, corpus: Path, tmp_path: Path, first_and_second: list[subprocess.Popen[str]]
) -> None:
    assert callable(writer)
    output = tmp_path / "output"
    job: Writer = writer(corpus, output)
    first = job.start(HOLDING_COMMAND)
    first_and_second.append(first)
    assert first.stdout is not None
    for line in first.stdout:
        if line == "inside\n":
            break
    second = job.start(COMMAND)
    first_and_second.append(second)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2, said
    assert job.said in said.splitlines()[-1] and str(output) in said.splitlines()[-1]
    assert "Traceback" not in said
    _, said = first.communicate("go on\n", timeout=60)
    assert first.returncode == 0, said
    assert CHECKS[writer](output)
    assert not [path.name for path in output.parent.iterdir() if path.name.endswith(".lock")]


def test_a_writer_that_was_killed_is_in_nobodys_way(
    corpus: Path, tmp_path: Path, first_and_second: list[subprocess.Popen[str]]
) -> None:
    output = tmp_path / "output"
    job = binarize(corpus, output)
    first = job.start(HOLDING_COMMAND)
    first_and_second.append(first)
    assert first.stdout is not None and first.stdout.readline() == "inside\n"
    first.kill()
    first.wait()
    second = job.start(COMMAND)
    first_and_second.append(second)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert CHECKS[binarize](output)
