"""Runs the whole quickstart, printing every command so that it can be repeated by hand.

A step that is done is skipped the next time, unless something before it had to run again; --fresh starts over.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from commands import HERE, Quickstart, Step

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError
from memobert_plugin.sweep.forked_commands import ForkedCommands

THREADS = 1


def typed(step: Step) -> str:
    """The step's command for a shell."""
    return f"OMP_NUM_THREADS={THREADS} {shlex.join(step.command)}"


def log_of(step: Step) -> Path:
    return Path("logs", f"{step.name}.log")


def stamp_of(step: Step) -> Path:
    """Holds the step's command once it has ended well."""
    return Path("logs", f"{step.name}.done")


def is_done(step: Step) -> bool:
    stamp = stamp_of(step)
    return step.output.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == typed(step)


def remove_output(step: Step) -> None:
    """Remove what the step wrote before, so that it does not go on from there."""
    stamp_of(step).unlink(missing_ok=True)
    if step.output.is_dir():
        shutil.rmtree(step.output)
    step.output.unlink(missing_ok=True)


def run_steps(steps: Sequence[Step], runner: ForkedCommands) -> Iterator[str]:
    """Run one phase's steps in the working directory and yield a line for each as it ends.

    Raises:
        UserError: a command failed; the others of the phase are ended.
    """
    for step in steps:
        remove_output(step)
        step.output.parent.mkdir(parents=True, exist_ok=True)
    by_log = {log_of(step): step for step in steps}
    runs = [(step.command, log) for log, step in by_log.items()]
    for count, finished in enumerate(runner.run_all(runs), 1):
        step = by_log[finished.log]
        if finished.status:
            lines = finished.log.read_text(encoding="utf-8").splitlines()
            print("\n".join(lines[-20:]), file=sys.stderr)
            raise UserError(f"{step.name} ended with status {finished.status}; see {finished.log.absolute()}")
        stamp_of(step).write_text(typed(step), encoding="utf-8")
        yield f"# {count}/{len(steps)} {step.name}: {finished.seconds:.1f} s"


def run_phases(quickstart: Quickstart, runner: ForkedCommands, dry: bool) -> None:
    """Print every phase's commands and, unless ``dry``, run those that are not done, inside the working directory."""
    again = False
    for title, steps in quickstart.phases():
        print(f"\n# {title}", *map(typed, steps), sep="\n", flush=True)
        if dry:
            continue
        unfinished = [step for step in steps if again or not is_done(step)]
        again = bool(unfinished)
        if len(unfinished) < len(steps):
            print(f"# {len(steps) - len(unfinished)} of {len(steps)} done earlier", flush=True)
        for line in run_steps(unfinished, runner):
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=HERE / "work", help="folder for everything (default: beside this file)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the corpus and of all training (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time, of one thread each (default 2)")
    parser.add_argument("--fresh", action="store_true", help="start over, removing what an earlier run has left")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
    arguments = parser.parse_args()
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # read when numpy and torch are loaded, which is later
    work = arguments.work.resolve()
    print("# Every command can be repeated by hand, after:")
    print(shlex.join(["cd", str(work)]))
    print(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    if not arguments.dry_run:
        if arguments.fresh:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
    run_phases(Quickstart(work, arguments.seed), ForkedCommands(arguments.jobs, THREADS), arguments.dry_run)
    if not arguments.dry_run:
        print(f"\n{Path('logs', 'results.log').read_text(encoding='utf-8')}")
        print(f"Loss curves: {work / 'losses.png'}. {time.monotonic() - started:.0f} s in all.")


if __name__ == "__main__":
    run_command(main)
