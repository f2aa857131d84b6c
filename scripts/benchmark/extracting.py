"""memobert-extract acoustic: clips and seconds of sound per second by the number of workers, memory by their number.

    python scripts/benchmark/extracting.py
    python scripts/benchmark/extracting.py --clips 20 40 --workers 1 2 --rounds 1

Writes noise as .wav files of one to ten seconds (16 kHz, 16 bits) and a manifest into a temporary folder, and extracts
log-mel frames of the largest number of clips with every number of workers in turn. Memory is the most that the command,
or one process below it, had resident.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from generated_corpus import drawn_seconds
from process_memory import run_measured
from tabulate import tabulate
from timing import in_turn, median_ratio, medians, write_result

from memobert_plugin.data.manifest import ManifestRow, write_manifest

SAMPLES_PER_SECOND = 16_000
COMMAND = str(Path(sys.executable).with_name("memobert-extract"))


def write_clips(folder: Path, clips: Sequence[int], seed: int = 1) -> float:
    """Manifests ``<n>.tsv`` of so many clips and the sound of the largest; returns its seconds."""
    rng = np.random.default_rng(seed)
    lengths = drawn_seconds(rng, max(clips))
    rows = []
    for number, seconds in enumerate(lengths.tolist()):
        name = f"clip_{number}.wav"
        sound = rng.integers(-8_000, 8_000, int(seconds * SAMPLES_PER_SECOND), dtype=np.int16)
        soundfile.write(folder / name, sound, SAMPLES_PER_SECOND)
        rows.append(ManifestRow(0, f"clip_{number}", "", "", "train", "", "", "", name, None, None))
    for count in clips:
        write_manifest(folder / f"{count}.tsv", rows[:count])
    return float(lengths.sum())


def extract(folder: Path, clips: int, workers: int) -> float:
    """Run the command once; the MiB it took."""
    output = folder / "frames"
    shutil.rmtree(output, ignore_errors=True)
    flags = [
        "--manifest",
        str(folder / f"{clips}.tsv"),
        "--output",
        str(output),
        "--workers",
        str(workers),
        "--pool",
        "3",
    ]
    return run_measured([COMMAND, "acoustic", *flags])[1]


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clips", type=int, nargs="+", default=[500, 2_000], metavar="N", help="default: 500 2000")
    add("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="processes (default: 1 2)")
    add("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    most = max(options.clips)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sound = write_clips(folder, options.clips)
        names = {f"{workers} workers": workers for workers in options.workers}
        candidates = {name: functools.partial(extract, folder, most, workers) for name, workers in names.items()}
        seconds = in_turn(candidates, options.rounds)
        memory = {
            name: {count: extract(folder, count, workers) for count in sorted(options.clips)}
            for name, workers in names.items()
        }
    first = next(iter(names))
    rows = [
        {
            "": name,
            "clips/s": most / median,
            "MB/s": sound * SAMPLES_PER_SECOND * 2 / 1e6 / median,
            "times real time": sound / median,
            f"times {first}": median_ratio(seconds, first, name),
            **{f"MiB of {count}": used for count, used in memory[name].items()},
        }
        for name, median in medians(seconds).items()
    ]
    print(tabulate(rows, "keys", floatfmt=".1f"))
    write_result(options.output, "extracting", {"seconds_of_sound": sound, "rows": rows})


if __name__ == "__main__":
    main()
