"""``memobert-sweep``: carry out every setting, fold, seed, share of training data and ablation of a plan."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.console import CommandParser, run_command, say
from ..core.errors import UserError
from ..core.names import counted

if TYPE_CHECKING:
    from ..sweep.expansion import Run
    from ..sweep.plan import Plan
    from ..sweep.records import RunState, SweepFolder
    from ..sweep.schedule import Schedule

_EPILOG = """\
memobert-sweep status DIR shows the progress of a sweep: done, running, failed, waiting, and the time that is left.

Start the same command again to resume a sweep: finished runs are skipped, trainings that were stopped or killed go on
from their last checkpoint, and SLURM jobs that are still queued are waited for. --retry-failed starts failed runs
again.

Exit status: 0 all runs are done; 1 a run failed or was not done; 2 the plan has a mistake; 130 or 143 the command was
ended by Ctrl-C or SIGTERM (trainings save first; a second Ctrl-C ends them at once).
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the flags of starting a sweep."""
    parser = CommandParser(
        command="sweep",
        description="Carry out a plan: import BERT, pre-train the variants, then train every setting on every fold.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("plan", type=Path, metavar="PLAN.yaml", help="examples/sweep/README.md explains its keys")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the sweep's folder (default: runs/NAME)")
    parser.add_argument("--executor", choices=("local", "slurm"), default="local", help="default: %(default)s")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time with --executor local (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads of a run with local (default: %(default)s)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="start failed runs again")
    parser.add_argument("--dry-run", action="store_true", help="print every command and the job graph, start nothing")
    parser.add_argument(
        "--poll-seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="time between two looks at SLURM jobs (default: %(default)s)",
    )
    return parser


def build_status_parser() -> argparse.ArgumentParser:
    """Return the flags of ``memobert-sweep status``."""
    parser = CommandParser(command="sweep status", description="Show the progress of a sweep.")
    parser.add_argument("sweep", type=Path, metavar="DIR", help="the sweep's folder, such as runs/NAME")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["status"]:
        return show_status(build_status_parser().parse_args(arguments[1:]).sweep)
    return start(build_parser().parse_args(arguments))


def show_status(path: Path) -> int:
    """Print the summary of a sweep."""
    from ..sweep.progress import status_lines
    from ..sweep.records import SweepFolder

    print(*status_lines(SweepFolder(path)), sep="\n")
    return 0


def start(options: argparse.Namespace) -> int:
    """Start a sweep or resume it."""
    from ..core.fairseq_quirks import require_fairseq

    require_fairseq("a sweep")
    from ..sweep.checks import check_commands
    from ..sweep.plan import read_plan
    from ..sweep.records import SweepFolder
    from ..sweep.slurm import PACKAGE, take_snapshot

    for flag in ("jobs", "threads", "poll_seconds"):
        if getattr(options, flag) <= 0:
            raise UserError(f"--{flag.replace('_', '-')}: give a number above 0")
    plan = read_plan(options.plan)
    sweep = SweepFolder(options.output or Path("runs", plan.name))
    slurm = options.executor == "slurm"
    if slurm and not plan.slurm:
        raise UserError(f"{plan.path}: --executor slurm needs the section slurm: partition, minutes, GPUs")
    if options.dry_run:
        runs = _expand(plan, sweep, PACKAGE, slurm)
        check_commands(plan.path, runs)
        print(*_dry_run_lines(plan, runs, slurm), sep="\n")
        return 0
    with sweep.launched(plan.path) as lock:
        code = take_snapshot(sweep.path / "code") if slurm else PACKAGE.parent
        runs = _expand(plan, sweep, code / PACKAGE.name, slurm)
        check_commands(plan.path, runs)
        return _carry_out(plan, sweep, runs, options, code, lock)


def _expand(plan: Plan, sweep: SweepFolder, user_dir: Path, slurm: bool) -> list[Run]:
    from ..sweep.commands import CommandWriter
    from ..sweep.expansion import Expansion, read_emotion_corpus, read_speakers

    corpus = read_emotion_corpus(plan.corpus, plan.labels, plan.protocol, plan.folds, plan.folding, plan.kind)
    speakers = read_speakers(plan.pretraining.data) if plan.pretraining is not None else frozenset()
    writer = CommandWriter(plan, user_dir, plan.slurm["pretraining"] if slurm else None)
    return Expansion(plan, corpus, speakers, sweep.path, writer).runs()


def _carry_out(
    plan: Plan, sweep: SweepFolder, runs: list[Run], options: argparse.Namespace, code: Path, lock: int
) -> int:
    from ..core.slurm import queued_jobs
    from ..sweep.local import run_locally
    from ..sweep.records import DONE
    from ..sweep.run_process import RunOptions
    from ..sweep.schedule import Schedule
    from ..sweep.slurm import SlurmExecutor

    queued = queued_jobs() or frozenset()
    held = [run.name for run in runs if sweep.run(run.name).submitted_job() in queued]
    if held and options.executor == "local":
        raise UserError(
            f"{sweep.path}: SLURM has {len(held)} of its runs, such as {held[0]}; wait, or scancel its jobs"
        )
    sweep.prepare(plan.path, runs, queued)
    schedule = Schedule(sweep, runs, options.retry_failed)
    say(f"{sweep.path}: {counted(len(runs), 'run')}, {len(schedule.with_status(DONE))} done earlier")

    def announce(name: str, state: RunState) -> None:
        say(f"{schedule.finished()}/{len(runs)} {state.status} {name} {state.seconds:.1f} s")

    if options.executor == "local":
        run_options = RunOptions(options.threads, plan.keep_checkpoints)
        ended = run_locally(schedule, options.jobs, run_options, lock, announce)
    else:
        ended = SlurmExecutor(schedule, dict(plan.slurm), code, plan.keep_checkpoints, announce).run(
            options.poll_seconds
        )
    print(*_summary_lines(schedule), sep="\n")
    return ended or int(len(schedule.with_status(DONE)) < len(runs))


def _summary_lines(schedule: Schedule) -> list[str]:
    from ..sweep.progress import failure_lines
    from ..sweep.records import DONE, FAILED, STOPPED, WAITING

    done, failed = schedule.with_status(DONE), schedule.with_status(FAILED)
    stopped, waiting = schedule.with_status(STOPPED), schedule.with_status(WAITING)
    lines = failure_lines(schedule.sweep, failed)
    lines += ["", f"{len(done)} done, {len(failed)} failed, {len(stopped)} stopped, {len(waiting)} not started"]
    if failed:
        lines.append("remove the reason, then start again with --retry-failed; finished runs are not repeated")
    elif stopped or waiting:
        lines.append("start the same command again to go on")
    return lines


def _dry_run_lines(plan: Plan, runs: list[Run], slurm: bool) -> list[str]:
    from ..sweep.slurm import job_groups

    lines = []
    for run in runs:
        lines += ["", f"# {run.name}{'  after ' + ', '.join(run.depends_on) if run.depends_on else ''}"]
        lines += [shlex.join(command) for command in run.commands]
    lines += ["", "# Job graph: each kind after those it needs"]
    needs = Counter((run.kind, tuple(sorted({name.partition("/")[0] for name in run.depends_on}))) for run in runs)
    for (kind, needed), count in needs.items():
        lines.append(f"# {counted(count, f'{kind} run')}{' after ' + ' and '.join(needed) if needed else ''}")
    if slurm:
        for kind in dict.fromkeys(run.kind for run in runs):
            resources = plan.slurm[kind]
            jobs = len(job_groups([run for run in runs if run.kind == kind], resources.runs_per_job))
            lines.append(
                f"# {kind}: {counted(jobs, 'job')} of up to {counted(resources.runs_per_job, 'run')}, "
                f"{resources.jobs} at a time; each {counted(resources.nodes, 'node')} x "
                f"{counted(resources.tasks_per_node, 'task')} ({counted(resources.gpus, 'GPU')}), "
                f"{resources.minutes} min, partition {resources.partition or '(default)'}"
            )
    return lines


def cli_main() -> None:
    """Entry point of ``memobert-sweep``."""
    run_command(main)
