"""What grows with the corpus: opening it, starting an epoch, an update, and memory, for 10^3 to 10^7 utterances.

    python scripts/benchmark/scale.py --picture scale.png
    python scripts/benchmark/scale.py --utterances 1000 2000 --updates 2

Generates data-bins with holes for frames (see generated_corpus.py), one after another, in a temporary folder; ten
million utterances take 1.5 GB of it, ``--utterances 100000000`` takes 13 GB. Each is measured in a fresh process:
"open" is the data-bin and the training set, "epoch" the order and the batches of an epoch through fairseq's iterator,
"first batch" the next one masked, "update" the median of --updates training steps of memobert_tiny on as many tokens
each, on one thread. Seconds are processor time. "peak" is the most memory that was ever resident, "above imports" what
it was more than once everything was imported: indices and one update.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from generated_corpus import write_data_bin
from scale_measurement import measured_in_fresh_process
from tabulate import tabulate
from timing import write_result


def draw(path: Path, rows: list[dict[str, float]]) -> None:
    """Seconds and memory against utterances, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    utterances = [row["utterances"] for row in rows]
    for name in ("open, s", "epoch, s", "first batch, s", "update, s"):
        seconds.loglog(utterances, [row[name] for row in rows], marker="o", label=name)
    memory.loglog(utterances, [row["above imports, MiB"] for row in rows], marker="o", label="above imports, MiB")
    for axes in (seconds, memory):
        axes.set_xlabel("utterances")
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--utterances", type=int, nargs="+", default=[10**power for power in range(3, 8)], metavar="N")
    add("--updates", type=int, default=5, metavar="N", help="of which the median is told (default: %(default)s)")
    add("--max-tokens", type=int, default=4_096, metavar="N", help="pieces and frames of an update (%(default)s)")
    add("--picture", type=Path, metavar="PNG", help="draw the table")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    rows = []
    for utterances in sorted(options.utterances):
        with tempfile.TemporaryDirectory() as folder:
            data_bin = write_data_bin(Path(folder, "corpus"), utterances)
            measured = measured_in_fresh_process(data_bin, options.max_tokens, options.updates)
        rows.append({"utterances": utterances, **measured})
    print(tabulate(rows, "keys", floatfmt=".3g", intfmt=","))
    if options.picture:
        draw(options.picture, rows)
    write_result(options.output, "scale", {"max_tokens": options.max_tokens, "rows": rows})


if __name__ == "__main__":
    main()
