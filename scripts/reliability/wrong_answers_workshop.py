"""The workshop of wrong_answers.py: an empty folder for a case, its inputs, and the commands in forked processes."""

from __future__ import annotations

import csv
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    output: str
    """Standard output and error."""

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


class Wrong(Exception):
    """A case came out wrong; the message says what came out."""


class Workshop:
    """The inputs, an empty folder for one case, and the commands.

    Args:
        inputs: folder with all inputs.
        folder: empty.
    """

    def __init__(self, inputs: Path, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder

    def path(self, name: str) -> Path:
        """Return the path of an input."""
        return self.inputs / name

    def run(self, command: str, *arguments: object, status: int | None = 0) -> Finished:
        """Run an installed command.

        Args:
            command: its name.
            arguments: as typed.
            status: the exit status that is right; None: any.

        Raises:
            Wrong: it ended with another status.
        """
        (entry,) = metadata.entry_points(group="console_scripts", name=command)

        def typed() -> object:
            sys.argv = [command, *map(str, arguments)]
            return entry.load()()

        finished = self.forked(typed)
        if status is not None and finished.status != status:
            raise Wrong(f"{command}: exit status {finished.status}: {finished.last_line}")
        return finished

    def forked(self, work: Callable[[], object]) -> Finished:
        """Run a function in a forked process."""
        return forked(work, self.folder / "log")

    def film(self, film: object, *flags: object, encoder: str = "none", output: str = "film") -> list[tuple[str, ...]]:
        """Run ``memobert-extract film`` with the drawn face's tracker; return (text, start, end) of each line."""
        self.run(
            "memobert-extract", "film", film, "--faces", "tracker", "--tracker", self.path("films/talk.csv"),
            "--voice", "energy", "--choice", "most_frequent", "--picture-rate", "2", "--encoder", encoder,
            "--output", self.folder / output, *flags, status=None,
        )  # fmt: skip
        manifest = self.folder / output / "manifest.tsv"
        if not manifest.is_file():
            raise Wrong("no manifest was written")
        return [(row["text"], row["start"], row["end"]) for row in rows_of(manifest)]

    def frames(self, folder: str) -> dict[str, np.ndarray]:
        """Return the extracted frames of a folder by utterance."""
        files = sorted((self.folder / folder).glob("*.npz"))
        return {file.stem: np.load(file)["frames"].astype(np.float64) for file in files}

    def data_bin(self, manifest: Path | str, vocabulary: str, *flags: object) -> Path:
        """Binarize a manifest; return the data-bin."""
        output = self.folder / "data-bin"
        manifest = self.path(manifest) if isinstance(manifest, str) else manifest
        self.run(
            "memobert-binarize", "--manifest", manifest, "--vocab", self.path(vocabulary), "--output", output, *flags
        )
        return output

    def train(self, data_bin: Path, *flags: object) -> Path:
        """Train the smallest prompted model for two updates; return the folder of its checkpoints."""
        from tests.host import training_flags

        save = self.folder / "checkpoints"
        given = training_flags(data_bin, "memobert_prompt", *map(str, flags))
        self.run(
            "fairseq-train",
            *given,
            "--max-update",
            "2",
            "--save-dir",
            save,
            "--no-epoch-checkpoints",
            "--disable-validation",
        )
        return save

    def bundle(self) -> Path:
        """Train on the emotion manifest and export; return the bundle."""
        data_bin = self.data_bin("text/emotion_manifest.tsv", "text/emotion_vocab.txt")
        checkpoint = self.train(data_bin, "--fold", "1") / "checkpoint_last.pt"
        self.run("memobert-export", checkpoint, self.folder / "bundle", "--data-bin", data_bin)
        return self.folder / "bundle"


def forked(work: Callable[[], object], log: Path) -> Finished:
    """Run a function in a forked process.

    This process itself never decodes: freeing FFmpeg's decoders in a fork waits for threads that only the parent has.

    Args:
        work: what to do; its result is the exit status.
        log: file for its output.
    """
    child = os.fork()
    if not child:
        status: object = 1
        try:
            written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, written), (2, written)):
                os.dup2(descriptor, stream)
            status = work()
        except SystemExit as ended:
            status = ended.code
            if isinstance(status, str):
                print(status, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0 if not status else status if isinstance(status, int) else 1)
    _, ended = os.waitpid(child, 0)
    return Finished(os.waitstatus_to_exitcode(ended), log.read_text(errors="replace"))


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a TSV with a header."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def expect(found: object, right: object) -> str:
    """Return what was found, in words.

    Raises:
        Wrong: it is not what is right.
    """
    if found != right:
        raise Wrong(f"{found}")
    return f"{found}"
