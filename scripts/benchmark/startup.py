"""How long --help takes: fairseq-train with the plugin against without, and every memobert command.

    python scripts/benchmark/startup.py
    python scripts/benchmark/startup.py --rounds 1 --commands memobert-binarize

All commands run in turn, each in a process of its own; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tabulate import tabulate
from timing import in_turn, median_ratio, medians, write_result

import memobert_plugin

ALONE, WITH_PLUGIN = "fairseq-train --help", "fairseq-train --user-dir memobert_plugin --help"
PROGRAMS = Path(sys.executable).parent


def show_help(program: str, *arguments: str) -> None:
    """Run a command of this environment for its help."""
    command = [str(PROGRAMS / program), *arguments, "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Run what the flags describe."""
    installed = sorted(entry.name for entry in entry_points(group="console_scripts") if entry.name[:9] == "memobert-")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--commands", nargs="*", default=installed, metavar="NAME", help="default: all of this project's")
    add("--without-host", action="store_true", help="leave fairseq-train out, which takes seconds")
    add("--rounds", type=int, default=5, metavar="N", help="how often each is measured (default: %(default)s)")
    add("--output", type=Path, metavar="JSON", help="write the numbers there too")
    options = parser.parse_args()
    candidates = {f"{name} --help": functools.partial(show_help, name) for name in options.commands}
    if not options.without_host:
        plugin = str(Path(memobert_plugin.__file__).parent)
        candidates[ALONE] = functools.partial(show_help, "fairseq-train")
        candidates[WITH_PLUGIN] = functools.partial(show_help, "fairseq-train", "--user-dir", plugin)
    seconds = in_turn(candidates, options.rounds)
    result: dict[str, object] = {"seconds": medians(seconds), "slowest": {name: max(seconds[name]) for name in seconds}}
    rows = [[name, median, max(seconds[name])] for name, median in medians(seconds).items()]
    print(tabulate(rows, ["", "median, s", "slowest, s"], floatfmt=".2f"))
    if not options.without_host:
        result["times_host"] = median_ratio(seconds, WITH_PLUGIN, ALONE)
        print(f"with the plugin {result['times_host']:.2f} times as long as without")
    write_result(options.output, "startup", result)


if __name__ == "__main__":
    main()
