"""Processor time and memory of commands, beside those of another version of this project; against.sh starts it.

Both versions read the same film, binarize the same frames, and train for one update on what they read, so that both
have a model to answer with. Each command is then run by one version and the other in turn. Processor time counts, so
that other work on the machine weighs little; a ratio is the median over the rounds. Beside films and answers stands the
floor, what bare packages need for the same work (bare.py).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from binarizing import write_inputs
from tabulate import tabulate
from timing import write_result

LABELS = ("anger", "happy", "neutral", "sad")
SPEAKERS = 3
UTTERANCES = 4000
FACES_SCRIPT = """
import time, numpy as np, torch
try:
    from memobert_plugin.features.denseface.encoder import DenseFace
except ImportError:
    from memobert_plugin.features.expression import DenseFace
torch.set_num_threads(1)
faces = np.random.default_rng(0).integers(256, size=(256, 64, 64), dtype=np.uint8)
encoder = DenseFace.from_shipped()
encoder.encode(faces[:32])
began = time.process_time()
encoder.encode(faces)
print(time.process_time() - began)
"""


@dataclass(frozen=True)
class Used:
    """Time and memory of a command."""

    seconds: float
    """Of processor time, its children's included."""
    mebibytes: float
    """The most that one of its processes had resident."""


@dataclass
class Version:
    """A checkout with an environment, and the folder of what it makes here."""

    root: Path
    work: Path
    film: Path

    def run(self, command: str, *arguments: str | Path) -> Used:
        """Run a program of the environment to its end.

        Raises:
            SystemExit: it failed; what it printed comes before.
        """
        words = [str(self.root / ".venv" / "bin" / command), *map(str, arguments)]
        log = self.work / "log.txt"
        with open(log, "wb") as printed:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                env=_with_bytecode(),
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{log.read_text(encoding='utf-8', errors='replace')}\n{' '.join(words)}: failed")
        return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def printed(self) -> str:
        """Return what the last command printed."""
        return (self.work / "log.txt").read_text(encoding="utf-8")

    def fresh(self, name: str) -> Path:
        """Return a path in the work folder at which nothing is."""
        shutil.rmtree(self.work / name, ignore_errors=True)
        return self.work / name

    def prepare(self) -> None:
        """Make a model that answers clips: one update on the film's utterances, with labels in turn."""
        self.read_film()
        with open(self.work / "film" / "manifest.tsv", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
        for number, row in enumerate(rows):
            row.update(
                speaker=f"speaker{number % SPEAKERS}", session="", split="", emotion=LABELS[number % len(LABELS)]
            )
        with open(self.work / "labelled.tsv", "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        words = sorted({word for row in rows for word in row["text"].lower().split()} | {"i", "am", *LABELS})
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,?!'", *words]
        (self.work / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n", encoding="utf-8")
        frames = ("--visual", self.work / "film" / "visual", "--acoustic", self.work / "film" / "acoustic")
        self.run(
            "memobert-binarize", "--manifest", "labelled.tsv", *frames, "--vocab", "vocab.txt",
            "--output", self.fresh("data-bin"),
        )  # fmt: skip
        self.run(
            "fairseq-train", "data-bin", "--user-dir", self.root / "memobert_plugin", "--task", "memobert_finetune",
            "--criterion", "memobert_finetune", "--arch", "memobert_tiny", "--fold", "1", "--optimizer", "adam",
            "--lr", "1e-4", "--batch-size", "4", "--max-update", "1", "--cpu", "--num-workers", "0",
            "--disable-validation", "--save-dir", self.fresh("checkpoints"),
        )  # fmt: skip
        self.run("memobert-export", "checkpoints/checkpoint_last.pt", self.fresh("bundle"))

    def read_film(self) -> Used:
        """Extract the film's lines."""
        return self.run("memobert-extract", "film", self.film, "--output", self.fresh("film"))

    def answer(self, clips: int, page: bool) -> Used:
        """Answer cuts of three seconds of the film."""
        manifest = self.work / f"{clips}.tsv"
        header = "id speaker session split text emotion video audio start end".replace(" ", "\t")
        lines = [
            f"clip{number}\t\t\t\thello\t\t{self.film}\t\t{number % 4 * 3}\t{number % 4 * 3 + 3}"
            for number in range(clips)
        ]
        manifest.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        options = ("--report", self.fresh("page.html")) if page else ()
        (self.work / "page.html").unlink(missing_ok=True)
        return self.run("memobert-predict", "--model", "bundle", "--manifest", manifest, *options)

    def further_answer(self) -> Used:
        """Answer five clips; the time is that of one more than the first."""
        one, five = self.answer(1, page=False), self.answer(5, page=False)
        return Used((five.seconds - one.seconds) / 4, five.mebibytes)

    def binarize(self, inputs: Path) -> Used:
        """Binarize frames that are the same for both."""
        folders = ("--visual", inputs / "visual", "--acoustic", inputs / "acoustic", "--vocab", inputs / "vocab.txt")
        manifest = inputs / f"{UTTERANCES}.tsv"
        return self.run(
            "memobert-binarize", "--manifest", manifest, *folders, "--workers", "1", "--output", self.fresh("generated")
        )

    def encode_faces(self) -> Used:
        """Encode 256 faces; the time is that of the network alone."""
        used = self.run("python", "-c", FACES_SCRIPT)
        return Used(float(self.printed().split()[-1]), used.mebibytes)

    def bare(self, *arguments: str) -> float:
        """Return the processor seconds that bare packages of this environment need for a film or clips of it."""
        self.run("python", self.root / "scripts" / "benchmark" / "bare.py", self.film, *arguments)
        return float(self.printed().split()[-1])

    def update(self, arch: str) -> Used:
        """Perform updates of pre-training; the time is one update's, by the clock."""
        script = self.root / "scripts" / "benchmark" / "training_step_update.py"
        used = self.run("python", script, "--arch", arch, "--output", self.work / "update.json")
        parts = json.loads((self.work / "update.json").read_text(encoding="utf-8"))
        return Used(sum(_numbers(parts["milliseconds"])) / 1e3, used.mebibytes)


def _with_bytecode() -> dict[str, str]:
    """Return the environment in which Python keeps bytecode, as an installed package has it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _numbers(values: Mapping[str, float]) -> list[float]:
    return [value for value in values.values() if isinstance(value, int | float)]


def compare(versions: tuple[Version, Version], inputs: Path, rounds: int, only: list[str]) -> list[dict[str, object]]:
    """Return a row for every command: both versions' medians and the medians of the ratios."""
    commands: dict[str, Callable[[Version], Used]] = {
        "film": lambda version: version.read_film(),
        "first answer": lambda version: version.answer(1, page=False),
        "each further clip": lambda version: version.further_answer(),
        "sixteen clips with a page": lambda version: version.answer(16, page=True),
        "DenseFace, 256 faces": lambda version: version.encode_faces(),
        "binarizing": lambda version: version.binarize(inputs),
        "memobert_tiny, one update": lambda version: version.update("memobert_tiny"),
        "memobert_base, 4 layers, one update": lambda version: version.update("memobert_base"),
    }
    floors: dict[str, Callable[[Version], float]] = {
        "film": lambda version: version.bare(),
        "first answer": lambda version: version.bare("--seconds", "3"),
        "each further clip": lambda version: (
            (version.bare("--seconds", "3", "--clips", "5") - version.bare("--seconds", "3")) / 4
        ),
        "sixteen clips with a page": lambda version: version.bare("--seconds", "3", "--clips", "16"),
    }
    rows = []
    for name, command in commands.items():
        if only and name.split()[0].strip(",") not in only:
            continue
        used: list[tuple[Used, Used]] = []
        for number in range(rounds):
            pair = [command(version) for version in (versions if number % 2 else versions[::-1])]
            used.append((pair[0], pair[1]) if number % 2 else (pair[1], pair[0]))
        before, after = zip(*used, strict=True)
        least = [floors[name](versions[1]) for _ in range(rounds)] if name in floors else []
        rows.append(
            {
                "command": name,
                "before, s": statistics.median(each.seconds for each in before),
                "now, s": statistics.median(each.seconds for each in after),
                "ratio": statistics.median(now.seconds / then.seconds for then, now in used),
                "floor, s": statistics.median(least) if least else None,
                "ratio of the floor": (
                    statistics.median(least) / statistics.median(each.seconds for each in before) if least else None
                ),
                "before, MiB": statistics.median(each.mebibytes for each in before),
                "now, MiB": statistics.median(each.mebibytes for each in after),
                "ratio of memory": statistics.median(now.mebibytes / then.mebibytes for then, now in used),
            }
        )
        print(tabulate(rows[-1:], "keys", floatfmt=".3g"), flush=True)
    return rows


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, metavar="FOLDER", help="checkout with .venv inside")
    parser.add_argument("--film", type=Path, required=True, help="with subtitles beside it")
    parser.add_argument("--rounds", type=int, default=5, help="of each command (default 5)")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="first words of the commands to compare")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        versions = []
        for name, root in (("before", options.before.resolve()), ("now", here)):
            work = Path(folder, name)
            work.mkdir()
            versions.append(Version(root, work, options.film.resolve()))
        write_inputs(Path(folder, "inputs"), [UTTERANCES])
        for version in versions:
            version.prepare()
        rows = compare((versions[0], versions[1]), Path(folder, "inputs"), options.rounds, options.only)
    print(tabulate(rows, "keys", floatfmt=".3g"))
    write_result(options.output, "against", {"rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
