"""Pre-trains and classifies RAVDESS speech leaving one actor out, printing every command so that it can be repeated.

A command that has ended well is skipped the next time, unless a phase before it had to run again; --fresh starts over.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import memobert_plugin
from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.data.folds import natural_order
from memobert_plugin.data.manifest import read_manifest
from memobert_plugin.sweep.forked_commands import ForkedCommands

HERE = Path(__file__).resolve().parent
THREADS = 1
LABELS = "anger,happy,neutral,sad"
SETTINGS = ("direct", "pretrain_finetune", "pretrain_prompt")


@dataclass(frozen=True)
class Step:
    """A command, its name and, where it trains, the folder of its checkpoints."""

    name: str
    command: tuple[str, ...]
    save_dir: str = ""

    @property
    def typed(self) -> str:
        """The command for a shell."""
        return f"OMP_NUM_THREADS={THREADS} {shlex.join(self.command)}"

    @property
    def log(self) -> Path:
        return Path("logs", f"{self.name}.log")

    @property
    def stamp(self) -> Path:
        """Holds the command once it has ended well."""
        return self.log.with_suffix(".done")

    @property
    def is_done(self) -> bool:
        return self.stamp.is_file() and self.stamp.read_text(encoding="utf-8") == self.typed


def preparation(corpus: Path) -> list[Step]:
    """From the publisher's files to a data-bin."""
    return [
        Step(
            "manifest",
            (
                "python", "-m", "memobert_plugin.corpora", "ravdess", str(corpus), "--output", "manifest.tsv",
                "--overwrite", "--rename-emotions", "calm=neutral,angry=anger", "--valid-share", "0.1",
            ),
        ),
        Step(
            "extract",
            ("memobert-extract", "acoustic", "--manifest", "manifest.tsv", "--output", "logmel", "--pool", "8"),
        ),
        Step(
            "binarize",
            (
                "memobert-binarize", "--manifest", "manifest.tsv", "--acoustic", "logmel",
                "--vocab", str(HERE / "vocab.txt"), "--output", "data-bin", "--overwrite",
            ),
        ),
    ]  # fmt: skip


def pretraining(fold: int, speaker: str) -> Step:
    """Masked modelling on all emotions' clips, without labels and without the fold's test speaker."""
    folder = f"checkpoints/pretraining/fold{fold}"
    return Step(
        f"pretraining_fold{fold}",
        (
            *host("fairseq-train", "memobert_pretraining"), "--criterion", "memobert_pretraining",
            "--exclude-speakers", speaker, "--wwmlm-ratio", "1", "--mafr-ratio", "3",
            *training(folder, learning_rate="1e-3", updates=600, warmup=60, seed=1), "--validate-interval", "5",
        ),
        folder,
    )  # fmt: skip


def emotion_training(setting: str, fold: int) -> Step:
    """One fold; what is kept is the epoch with the best UAR on the validation speaker."""
    task, folder = task_of(setting), f"checkpoints/{setting}/fold{fold}"
    command = (
        *host("fairseq-train", task), "--criterion", task,
        "--fold", str(fold), "--protocol", "strict", "--labels", LABELS,
        *training(folder, learning_rate="5e-4", updates=400, warmup=40, seed=1),
        "--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric",
    )  # fmt: skip
    if setting != "direct":
        command += ("--finetune-from-model", f"checkpoints/pretraining/fold{fold}/checkpoint_best.pt")
    return Step(f"{setting}_fold{fold}", command, folder)


def emotion_test(setting: str, fold: int) -> Step:
    """Predictions of one fold's test speaker."""
    command = (
        *host("fairseq-validate", task_of(setting)), "--batch-size", "64", "--valid-subset", "test",
        "--path", f"checkpoints/{setting}/fold{fold}/checkpoint_best.pt",
        "--predictions", f"predictions/{setting}/fold{fold}.jsonl",
    )  # fmt: skip
    return Step(f"test_{setting}_fold{fold}", command)


def results(name: str, *arguments: str) -> Step:
    """One of this folder's scripts that print a table."""
    return Step(name, ("python", str(HERE / f"{name}.py"), *arguments))


def task_of(setting: str) -> str:
    return "memobert_prompt" if setting == "pretrain_prompt" else "memobert_finetune"


def host(program: str, task: str) -> tuple[str, ...]:
    """What all of the host's commands have in common."""
    user_dir = str(Path(memobert_plugin.__file__).resolve().parent)
    return (program, "data-bin", "--user-dir", user_dir, "--task", task, "--cpu", "--num-workers", "0")


def training(folder: str, learning_rate: str, updates: int, warmup: int, seed: int) -> tuple[str, ...]:
    """Model, optimiser and checkpoints of a training run."""
    return (
        "--arch", "memobert_tiny", "--batch-size", "32", "--seed", str(seed),
        "--optimizer", "memobert_adamw", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-6",
        "--weight-decay", "0.01", "--clip-norm", "5.0", "--lr", learning_rate,
        "--lr-scheduler", "polynomial_decay", "--warmup-updates", str(warmup),
        "--total-num-update", str(updates), "--max-update", str(updates),
        "--save-dir", folder, "--no-epoch-checkpoints", "--no-last-checkpoints", "--no-save-optimizer-state",
        "--log-format", "json", "--log-interval", "20",
    )  # fmt: skip


def run_steps(title: str, steps: Sequence[Step], runner: ForkedCommands, again: bool) -> bool:
    """Print one phase's commands and run those that are not done (all with ``again``); they may run side by side.

    Returns:
        Whether any was run, so that what follows must be run again.

    Raises:
        UserError: a command failed; the others of the phase are ended.
    """
    print(f"\n# {title}", *(step.typed for step in steps), sep="\n", flush=True)
    waiting = [step for step in steps if again or not step.is_done]
    for step in waiting:
        step.stamp.unlink(missing_ok=True)
        if step.save_dir:
            shutil.rmtree(step.save_dir, ignore_errors=True)
    by_log = {step.log: step for step in waiting}
    for count, finished in enumerate(runner.run_all((step.command, step.log) for step in waiting), 1):
        step = by_log[finished.log]
        if finished.status:
            print(*finished.log.read_text(encoding="utf-8").splitlines()[-20:], sep="\n", file=sys.stderr)
            raise UserError(f"{step.name} ended with status {finished.status}; see {finished.log.absolute()}")
        step.stamp.write_text(step.typed, encoding="utf-8")
        print(f"# {count}/{len(waiting)} {step.name}: {finished.seconds:.1f} s", flush=True)
    return bool(waiting)


def phases(speakers: Sequence[str]) -> Iterator[tuple[str, list[Step]]]:
    """Everything behind the data-bin."""
    folds = range(1, len(speakers) + 1)
    yield (
        "Pre-train without labels and without the test speaker",
        [pretraining(fold, speaker) for fold, speaker in enumerate(speakers, 1)],
    )
    yield "Learn the emotions", [emotion_training(setting, fold) for setting in SETTINGS for fold in folds]
    yield "Test every fold", [emotion_test(setting, fold) for setting in SETTINGS for fold in folds]
    yield "Results", [results("results", "predictions"), results("baseline", "data-bin", "--labels", LABELS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="RAVDESS's speech: the folder that holds Actor_01 ... Actor_24")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for everything written")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time, of one thread each (default 2)")
    parser.add_argument("--fresh", action="store_true", help="start over, removing what an earlier run has left")
    arguments = parser.parse_args()
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # read when numpy and torch are loaded, which is later
    corpus = arguments.corpus.resolve()
    if arguments.fresh:
        shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.work)
    print(f"# Every command can be repeated by hand in {Path.cwd()}")
    again = False
    for title, step in zip(("Find the clips", "Make frames", "Write the data-bin"), preparation(corpus), strict=True):
        again = run_steps(title, [step], ForkedCommands(1, THREADS), again)
    speakers = natural_order({row.speaker for row in read_manifest("manifest.tsv")})
    for title, steps in phases(speakers):
        again = run_steps(title, steps, ForkedCommands(arguments.jobs, THREADS), again)
    for name in ("results", "baseline"):
        print(f"\n{Path('logs', f'{name}.log').read_text(encoding='utf-8')}")
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    run_command(main)
