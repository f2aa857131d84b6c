"""Try fairseq's flags for checkpoints, EMA, optimisation and distributed training, each on a tiny training.

    python scripts/reliability/fairseq_flags.py --output /tmp/flags
    python scripts/reliability/fairseq_flags.py --output /tmp/flags --only ema

Every flag is given to a training of three updates, which is then started a second time for three more. The table lists
what each start did: "trained" (exit status 0 and the updates made), or the last line of its log. On a CPU; flags that
need a GPU, a TPU or other packages say so themselves.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from memobert_plugin.sweep.forked_commands import ForkedCommands
from tests.data_bins import CorpusShape, make_data_bin

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 3
EMOTION = ("memobert_prompt", "memobert_finetune")


@dataclass(frozen=True)
class Trial:
    """Some flags to try.

    Attributes:
        group: fairseq's group of the first flag.
        flags: of both starts; ``{run}`` stands for the run's folder, ``{start}`` for a checkpoint of another run.
        second: further flags of the second start.
        task: a task of this project.
        ranks: number of processes.
        elsewhere: the second start has another folder, so that nothing is there to resume.
    """

    group: str
    flags: str
    second: str = ""
    task: str = "memobert_prompt"
    ranks: int = 1
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """The flags and what else is particular about the trial."""
        parts = [self.flags]
        if self.second:
            parts.append(f"then {self.second}")
        if self.ranks > 1:
            parts.append(f"{self.ranks} processes")
        if self.task != "memobert_prompt":
            parts.append(self.task)
        return "; ".join(filter(None, parts))


def _checkpoint() -> list[Trial]:
    flags = (
        "--save-interval 2", "--save-interval-updates 2", "--save-interval-updates 1 --keep-interval-updates 1",
        "--save-interval-updates 1 --keep-interval-updates 1 --keep-interval-updates-pattern 2",
        "--keep-last-epochs 1", "--best-checkpoint-metric num_updates --keep-best-checkpoints 3", "--no-save",
        "--no-epoch-checkpoints", "--no-last-checkpoints", "--no-save-optimizer-state",
        "--best-checkpoint-metric uar --maximize-best-checkpoint-metric", "--best-checkpoint-metric bleu",
        "--patience 1", "--checkpoint-suffix _part", "--checkpoint-shard-count 2", "--write-checkpoints-asynchronously",
        "--model-parallel-size 2",
    )  # fmt: skip
    second = (
        "--reset-dataloader", "--reset-lr-scheduler", "--reset-meters", "--reset-optimizer",
        "--optimizer-overrides {'weight_decay':0.1}", "--restore-file {run}/checkpoint_1_2.pt", "--batch-size 2",
        "--update-freq 2", "--seed 9",
    )  # fmt: skip
    return [
        *(Trial("checkpoint", one) for one in flags),
        *(Trial("checkpoint", "--save-interval-updates 2", one) for one in second),
        Trial("checkpoint", "", "--continue-once {start}", elsewhere=True),
        Trial("checkpoint", "", "--finetune-from-model {start}", elsewhere=True),
        Trial("checkpoint", "", ranks=2),
        Trial("checkpoint", "--load-checkpoint-on-all-dp-ranks", ranks=2),
    ]


def _ema() -> list[Trial]:
    flags = (
        "--ema-decay 0.5", "--ema-start-update 2", "--ema-update-freq 2", "--ema-fp32",
        "--ema-fp32 --memory-efficient-fp16", "--ema-seed-model {start}",
    )  # fmt: skip
    tasks = ("memobert_pretraining", *EMOTION)
    return [
        *(Trial("ema", "--store-ema", task=task) for task in tasks),
        Trial("ema", "--store-ema", ranks=2),
        Trial("ema", "", "--store-ema"),
        *(Trial("ema", f"--store-ema {one}") for one in flags),
    ]


def _optimization() -> list[Trial]:
    flags = (
        "--max-epoch 2", "--stop-time-hours 0.000001", "--clip-norm 0.1", "--sentence-avg", "--update-freq 2",
        "--update-freq 1,2", "--lr 1e-3,1e-4 --lr-scheduler fixed", "--stop-min-lr 1", "--use-bmuf",
        "--skip-remainder-batch", "--debug-param-names", "--lr-scheduler reduce_lr_on_plateau",
        "--memory-efficient-fp16", "--amp", "--fp16", "--bf16",
    )  # fmt: skip
    optimizers = ("adam", "adamax", "adagrad", "adadelta", "adafactor", "nag", "sgd", "lamb", "cpu_adam", "composite")
    return [
        *(Trial("optimization", one) for one in flags),
        *(Trial("optimization", f"--optimizer {one}") for one in optimizers),
    ]


def _distributed() -> list[Trial]:
    backends = ("c10d", "fully_sharded", "legacy_ddp", "no_c10d", "pytorch_ddp", "slowmo")
    flags = (
        "--ddp-comm-hook fp16", "--bucket-cap-mb 1", "--fix-batches-to-gpus", "--find-unused-parameters",
        "--gradient-as-bucket-view", "--fast-stat-sync", "--heartbeat-timeout 100", "--broadcast-buffers",
        "--nprocs-per-node 2", "--localsgd-frequency 2", "--slowmo-momentum 0.1", "--slowmo-base-algorithm localsgd",
        "--zero-sharding os", "--no-reshard-after-forward", "--fp32-reduce-scatter", "--cpu-offload",
        "--use-sharded-state", "--not-fsdp-flatten-parameters",
    )  # fmt: skip
    pipeline = "--pipeline-model-parallel --pipeline-balance [1] --pipeline-devices [0] --pipeline-chunks 1"
    return [
        *(Trial("distributed", f"--ddp-backend {one}", ranks=2) for one in backends),
        *(Trial("distributed", one, ranks=2) for one in flags),
        *(Trial("distributed", f"--ddp-backend pytorch_ddp {one}", ranks=2) for one in flags[:6]),
        Trial("distributed", "--distributed-num-procs 2"),
        Trial("distributed", pipeline),
        Trial("distributed", "--tpu"),
    ]


GROUPS = {"checkpoint": _checkpoint, "ema": _ema, "optimization": _optimization, "distributed": _distributed}


def commands(trial: Trial, data_bin: Path, folder: Path, start: Path, updates: int, flags: str) -> list[list[str]]:
    """Return the commands of all processes of one start."""
    words = [word.replace("{run}", str(folder)).replace("{start}", str(start)) for word in flags.split()]
    given = {word.split("=")[0] for word in words}

    def unless_given(*default: str) -> list[str]:
        return [] if default[0] in given else list(default)

    command = [
        "fairseq-train", str(data_bin), "--user-dir", str(ROOT / "memobert_plugin"), "--task", trial.task,
        "--criterion", trial.task, "--arch", "memobert_tiny", "--encoder-layers", "1", "--encoder-embed-dim", "16",
        "--encoder-ffn-embed-dim", "32", "--max-positions", "80", "--cpu", "--num-workers", "0",
        "--save-dir", str(folder), "--max-update", str(updates),
        *unless_given("--optimizer", "memobert_adamw"), *unless_given("--lr", "1e-3"),
        *unless_given("--batch-size", "4"), *unless_given("--seed", "1"),
        *(["--fold", "1"] if trial.task in EMOTION else []),
        *words,
    ]  # fmt: skip
    if trial.ranks == 1:
        return [command]
    backend = unless_given("--ddp-backend", "legacy_ddp")
    return [
        [
            *command, "--distributed-world-size", str(trial.ranks), "--distributed-rank", str(rank),
            "--distributed-no-spawn", "--distributed-backend", "gloo", *backend,
            "--distributed-init-method", f"file://{folder}.{updates}.meeting",
        ]
        for rank in range(trial.ranks)
    ]  # fmt: skip


def outcome(status: int, log: Path) -> str:
    """Say what a start did, from its exit status and its log."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if status:
        return f"status {status}: {re.sub(r'/[^ ]*/', '…/', lines[-1])[:150]}" if lines else f"status {status}"
    made = re.findall(r"epoch (\d+) @ (\d+) updates, score", "\n".join(lines))
    warned = [line.split("|")[-1].strip() for line in lines if "memobert_plugin" in line and "WARNING" in line]
    text = f"trained to update {made[-1][1]}" if made else "ended without saving"
    return "; ".join([text, *(re.sub(r"\s+", " ", line)[:60] + "…" for line in dict.fromkeys(warned))])


def try_flags(trial: Trial, runner: ForkedCommands, data_bin: Path, folder: Path, start: Path) -> list[str]:
    """Run both starts; return the row of the table."""
    row = [trial.name or "(none)"]
    for number, flags in enumerate((trial.flags, f"{trial.flags} {trial.second}")):
        if number and not row[-1].startswith("trained"):
            row.append("")
            continue
        run = folder / ("second" if number and trial.elsewhere else "run")
        logs = [folder / f"{number}.{rank}.log" for rank in range(trial.ranks)]
        started = commands(trial, data_bin, run, start, UPDATES * (number + 1), flags)
        ends = {end.log: end.status for end in runner.run_all(zip(started, logs, strict=True))}
        worst = next((log for log in logs if ends[log]), logs[0])
        row.append(outcome(ends[worst], worst))
    row.append(str(len(list((folder / "run").glob("checkpoint*.pt")))))
    return row


def main(argv: Sequence[str] | None = None) -> int:
    """Try all flags and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a folder for data, checkpoints and logs; replaced")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=[*GROUPS], help="groups of flags (default: all)")
    options = parser.parse_args(argv)
    shutil.rmtree(options.output, ignore_errors=True)
    data_bin = make_data_bin(options.output / "corpus", CorpusShape(speakers=3, utterances=20))
    runner = ForkedCommands(jobs=2)
    base = Trial("", "")
    start = options.output / "start" / "checkpoint_last.pt"
    [command] = commands(base, data_bin, start.parent, start, UPDATES, "")
    if runner.run(command, options.output / "start.log"):
        raise SystemExit(f"{options.output}/start.log: the training without any of the flags failed")
    trials = [trial for group in options.only for trial in GROUPS[group]()]
    rows: list[list[str]] = []
    table = ""
    for number, trial in enumerate(tqdm(trials, unit="flag", mininterval=5)):
        folder = options.output / f"{number:03d}"
        rows.append([trial.group, *try_flags(trial, runner, data_bin, folder, start)])
        table = tabulate(rows, ["group", "flags", "first start", "second start", "checkpoints"], tablefmt="github")
        (options.output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
