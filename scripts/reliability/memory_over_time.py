"""Trains and validates a tiny model for a long time and watches the training's resident memory, which must stay flat.

    python scripts/reliability/memory_over_time.py --output /tmp/memory --minutes 60

The training reads a data-bin that is generated first, validates every twenty updates and saves every two hundred.
Afterwards a line is fitted to memory over time, the first part left out (buffers and caches fill up there). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import theilslopes
from tabulate import tabulate
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.data_bins import CorpusShape, make_data_bin

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SAVED_EVERY = 200


@dataclass(frozen=True)
class Sample:
    """The training's memory at one moment.

    Attributes:
        seconds: since the start.
        resident: MiB of the training and of its workers in RAM, without what is mapped from files.
        processes: how many those are.
    """

    seconds: float
    resident: float
    processes: int


def start(data_bin: Path, folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start a pre-training without an end."""
    command = [
        str(Path(sys.executable).with_name("fairseq-train")), str(data_bin),
        "--user-dir", str(ROOT / "memobert_plugin"), "--task", "memobert_pretraining", "--criterion",
        "memobert_pretraining", "--arch", "memobert_tiny", "--optimizer", "memobert_adamw", "--lr", "1e-3",
        "--lr-scheduler", "polynomial_decay", "--total-num-update", "100000000", "--max-update", "100000000",
        "--clip-norm", "5.0", "--batch-size", "16", "--cpu", "--num-workers", str(workers), "--seed", "1",
        "--validate-interval-updates", "20", "--save-interval-updates", str(SAVED_EVERY), "--keep-interval-updates",
        "1", "--no-epoch-checkpoints", "--save-dir", str(folder / "checkpoints"), "--log-format", "simple",
        "--log-interval", "20",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(folder / "train.log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def resident(process: int) -> tuple[int, int]:
    """Bytes that a process and all below it have in RAM, and how many processes those are.

    Pages that several of them share count once, in parts. Code and data mapped from files are left out (the kernel's
    Pss_Anon): how much of those counts would depend on other processes with the same libraries.
    """
    total, found = 0, [process]
    for one in found:
        folder = Path("/proc", str(one))
        try:
            rows = (folder / "smaps_rollup").read_text().splitlines()
            total += sum(1024 * int(row.split()[1]) for row in rows if row.startswith("Pss_Anon:"))
            for children in folder.glob("task/*/children"):
                found += map(int, children.read_text().split())
        except OSError:
            continue
    return total, len(found)


def watch(process: subprocess.Popen[bytes], seconds: float, interval: float) -> list[Sample]:
    """Look at the memory every ``interval`` seconds, for ``seconds`` or until the training ends."""
    samples, started = [], time.monotonic()
    with tqdm(total=round(seconds), unit="s", mininterval=10) as bar:
        while process.poll() is None and (now := time.monotonic() - started) < seconds:
            used, processes = resident(process.pid)
            samples.append(Sample(round(now, 1), round(used / MIB, 2), processes))
            bar.update(round(now) - bar.n)
            time.sleep(interval)
    return samples


def drift(samples: list[Sample], warm_up: float) -> dict[str, float]:
    """MiB per hour after ``warm_up`` seconds: median slope of all pairs of moments, with its 95 % interval, and what
    the line makes of the time that was watched.
    """
    kept = [sample for sample in samples if sample.seconds >= warm_up]
    hours = np.array([sample.seconds for sample in kept]) / 3600
    slope, _, low, high = theilslopes([sample.resident for sample in kept], hours)
    return {"slope": float(slope), "low": float(low), "high": float(high), "hours": float(np.ptp(hours))}


def table(samples: list[Sample], rows: int = 13) -> str:
    """Mean and peak memory of equal stretches of time."""
    stretches = [stretch for stretch in np.array_split(np.arange(len(samples)), rows) if len(stretch)]
    return tabulate(
        [
            (
                f"{samples[stretch[0]].seconds / 60:.0f} to {samples[stretch[-1]].seconds / 60:.0f}",
                np.mean([samples[at].resident for at in stretch]),
                max(samples[at].resident for at in stretch),
            )
            for stretch in stretches
        ],
        headers=("minutes", "mean MiB", "peak MiB"),
        floatfmt=".1f",
        tablefmt="github",
    )


def last_logged(log: Path) -> str:
    """The last line of training and of validation."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [[line for line in lines if f"| {kind} |" in line][-1:] for kind in ("train", "valid")]
    return "\n".join(line for lines in found for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="new folder")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to train (default 60)")
    parser.add_argument("--warm-up", type=float, default=10.0, help="minutes left out of the fit (default 10)")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two looks (default 10)")
    parser.add_argument("--workers", type=int, default=0, help="of the data loader (default 0)")
    parser.add_argument("--limit", type=float, default=10.0, help="MiB per hour that pass (default 10)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    data_bin = make_data_bin(arguments.output / "corpus", CorpusShape(speakers=8, utterances=50))
    process = start(data_bin, arguments.output, arguments.workers)
    try:
        samples = watch(process, 60 * arguments.minutes, arguments.interval)
    finally:
        ended = process.poll()
        process.send_signal(signal.SIGTERM)
        process.wait()
    if ended is not None:
        print(f"the training ended by itself (status {ended}); see {arguments.output / 'train.log'}")
        return 1
    found = drift(samples, 60 * arguments.warm_up)
    result = {"drift": found, "samples": [[one.seconds, one.resident, one.processes] for one in samples]}
    (arguments.output / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(last_logged(arguments.output / "train.log"), table(samples), sep="\n")
    print(
        f"{found['slope']:+.2f} MiB per hour ({found['low']:+.2f} to {found['high']:+.2f}) "
        f"over {60 * found['hours']:.0f} minutes after {arguments.warm_up:g} of warm-up"
    )
    return int(found["slope"] > arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
