"""An update and its memory against the length of the utterances, with as many tokens in every update.

    python scripts/benchmark/scale_length.py
    python scripts/benchmark/scale_length.py --positions 16 32 --updates 2

Generates for each length a data-bin (see generated_corpus.py) whose utterances all have that many positions: [CLS] and
[SEP], an eighth word pieces, three eighths faces, the rest speech frames. The rest is as in scale.py.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from generated_corpus import Shape, write_data_bin
from scale_measurement import measured_in_fresh_process
from tabulate import tabulate
from timing import write_result


def lengths(positions: int) -> tuple[int, int, int]:
    """Word pieces, faces and speech frames of an utterance of so many positions."""
    pieces, faces = positions // 8, positions * 3 // 8
    return pieces, faces, positions - 2 - pieces - faces


def main() -> None:
    """Run what the flags describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--positions", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024], metavar="N")
    add("--utterances", type=int, default=2_000, metavar="N", help="of each data-bin (default: %(default)s)")
    add("--updates", type=int, default=5, metavar="N", help="of which the median is told (default: %(default)s)")
    add("--max-tokens", type=int, default=4_096, metavar="N", help="pieces and frames of an update (%(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    rows = []
    for positions in sorted(options.positions):
        with tempfile.TemporaryDirectory() as folder:
            shape = Shape(lengths=lengths(positions))
            data_bin = write_data_bin(Path(folder, "corpus"), options.utterances, shape)
            measured = measured_in_fresh_process(data_bin, options.max_tokens, options.updates, shape.lengths)
        rows.append({"positions": positions, **measured})
    print(tabulate(rows, "keys", floatfmt=".3g", intfmt=","))
    write_result(options.output, "scale_length", {"max_tokens": options.max_tokens, "rows": rows})


if __name__ == "__main__":
    main()
