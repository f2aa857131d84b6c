"""A full disk ends a command with one line; nothing half-written has a final name, and with room it goes through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from memobert_plugin.checkpoints.bundle import read_bundle
from memobert_plugin.cli import binarize, export, extract, import_, predict
from memobert_plugin.core.errors import DiskFull
from memobert_plugin.core.files import replaced_when_complete
from memobert_plugin.data.corpus import Corpus
from memobert_plugin.data.frames import read_frames
from memobert_plugin.data.manifest import ManifestRow, write_manifest
from tests.data_bins import CorpusShape, make_data_bin, write_vocabulary
from tests.faults.disks import SmallDisk, files_limited_to
from tests.films import Cue
from tests.host import load_safely
from tests.inference.models import trained_checkpoint
from tests.talking_faces import DrawnFace, write_talking_film

SHAPE = CorpusShape(speakers=3, utterances=30, visual_dim=40, acoustic_dim=40)


@dataclass(frozen=True)
class Job:
    """A command that writes ``output``; its command line without that.

    Attributes:
        main: the command.
        flags: its arguments, with ``OUTPUT`` where that goes.
        check: fails unless the output is whole.
        sizes: of files at which the disk is full; the largest is less than its largest file.
    """

    main: Callable[[Sequence[str] | None], int]
    flags: Sequence[object]
    check: Callable[[Path], object]
    sizes: tuple[int, ...]

    def run(self, output: Path) -> int:
        """Run the command."""
        return self.main([str(output) if flag == "OUTPUT" else str(flag) for flag in self.flags])


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    folder = tmp_path_factory.mktemp("inputs")
    data_bin = make_data_bin(folder / "corpus", SHAPE)
    checkpoint = trained_checkpoint(data_bin, "memobert_prompt", folder / "prompt.pt", updates=1)
    export.main([str(checkpoint), str(folder / "bundle")])
    bundle = read_bundle(folder / "bundle")
    sound = [ManifestRow(0, id=f"u{number}", audio=f"{number}.wav", text="i am") for number in range(3)]
    for row in sound:
        soundfile.write(folder / row.audio, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000), 16_000)
    write_manifest(folder / "sound.tsv", sound)
    write_manifest(folder / "texts.tsv", [ManifestRow(0, id=f"u{number}", text="i am") for number in range(60)])
    (folder / "films").mkdir()
    face = DrawnFace(x=40, talks=((0.0, 2.0),), seen=(0.0, 3.0))
    write_talking_film(folder / "films", "one", [face], [Cue(0.0, 2.0, "I said hello!")], 3.0)
    frames = ["--visual", folder / "corpus" / "visual", "--acoustic", folder / "corpus" / "acoustic"]
    return {
        "binarize": Job(
            binarize.main,
            [
                "--manifest", folder / "corpus" / "manifest.tsv", *frames, "--vocab", write_vocabulary(folder),
                "--output", "OUTPUT",
            ],
            lambda output: len(Corpus(output)),
            (0, 100, 3000, 30_000),
        ),
        "extract acoustic": Job(
            extract.main,
            ["acoustic", "--manifest", folder / "sound.tsv", "--output", "OUTPUT"],
            lambda output: [read_frames(output / f"{row.id}.npz") for row in sound],
            (0, 100, 3000),
        ),
        "extract film": Job(
            extract.main,
            [
                "film", folder / "films" / "one.mp4", "--output", "OUTPUT", "--faces", "tracker", "--tracker",
                folder / "films" / "tracks", "--voice", "energy",
            ],
            lambda output: read_frames(output / "acoustic" / "one_00001.npz"),
            (0, 600, 5000),
        ),
        "export": Job(export.main, [checkpoint, "OUTPUT"], read_bundle, (1000, 10_000)),
        "import": Job(
            import_.main,
            ["bert", _bert_folder(folder / "bert"), "--output", "OUTPUT"],
            load_safely,
            (0, 100, 20_000),
        ),
        "predict": Job(
            predict.main,
            ["--manifest", folder / "texts.tsv", "--model", bundle.source, "--output", "OUTPUT"],
            lambda output: len(output.read_text().splitlines()) == 60 or pytest.fail("lines are missing"),
            (1000, 10_000),
        ),
    }  # fmt: skip


def _bert_folder(folder: Path) -> Path:
    from transformers import BertModel

    from tests.reference.bert_folder import bert_config, bert_vocabulary, random_bert, write_bert_folder

    words = bert_vocabulary()
    config = bert_config(layers=1, hidden=64, heads=2, ffn=64, rows=len(words), positions=64)
    return write_bert_folder(folder, random_bert(BertModel, config), words)


NAMES = ("binarize", "extract acoustic", "extract film", "export", "import", "predict")


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_on_files_ends_a_command_in_one_line(
    jobs: dict[str, Job], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed goes to memory, not to a file."""
    job, output = jobs[name], tmp_path / "output"
    for size in job.sizes:
        with files_limited_to(size), pytest.raises(DiskFull, match=r"cannot be written \(File too large\)") as raised:
            job.run(output)
        assert "\n" not in str(raised.value) and str(output) in str(raised.value)
        assert not _half_written(output)
    assert job.run(output) == 0
    job.check(output)
    assert not _half_written(output)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    made: list[SmallDisk] = []

    def mounted(kibibytes: int) -> SmallDisk:
        made.append(SmallDisk(tmp_path / "disk", kibibytes))
        return made[-1]

    yield mounted
    for one in made:
        one.remove()


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_ends_a_command_in_one_line(
    jobs: dict[str, Job], name: str, disk: Callable[[int], SmallDisk]
) -> None:
    small = disk(8)
    job, output = jobs[name], small.path / "output"
    with pytest.raises(DiskFull, match=r"cannot be written \(No space left on device\)") as raised:
        job.run(output)
    assert "\n" not in str(raised.value)
    assert not _half_written(output)
    small.enlarge()
    assert job.run(output) == 0
    job.check(output)
    assert not _half_written(output)


def _half_written(output: Path) -> list[Path]:
    """Leftovers beside an output, outputs in a folder that say they are complete and are not."""
    found = [path for path in output.parent.iterdir() if path != output]
    if output.is_dir():
        found += list(output.rglob(".writing-*"))
        for path in output.rglob("*.npz"):
            assert read_frames(path) is not None
    return found


def test_what_stood_there_before_still_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with (
        files_limited_to(10),
        pytest.raises(DiskFull, match="file: cannot be written"),
        replaced_when_complete(path) as temporary,
    ):
        temporary.write_text("longer than that")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    """Also where nobody foresaw that something is written."""
    code = (
        "from memobert_plugin.core.console import run_command; "
        "run_command(lambda: open('/dev/full', 'w').write('x' * 99999))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (finished.returncode, finished.stderr) == (2, "-c: error: No space left on device\n")
