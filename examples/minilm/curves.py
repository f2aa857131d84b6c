"""Draws masked-word loss and accuracy of training runs over their updates, and prints each run's last validation."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError

LOG_LINE = re.compile(r"\| (train_inner|valid) \| (\{.*\})$")
Curve = tuple[list[int], list[float]]


def read_curve(log: Path, kind: str, metric: str) -> Curve:
    """Updates and values of a metric in a fairseq-train log written with ``--log-format json``."""
    prefix = "valid_" if kind == "valid" else ""
    updates, values = [], []
    for line in log.read_text(encoding="utf-8").splitlines():
        found = LOG_LINE.search(line)
        if found and found[1] == kind:
            logged = json.loads(found[2])
            updates.append(int(logged[f"{prefix}num_updates"]))
            values.append(float(logged[f"{prefix}{metric}"]))
    return updates, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help=".png to write")
    parser.add_argument("runs", nargs="+", metavar="NAME=LOG", help="what to call a run, and fairseq-train's output")
    arguments = parser.parse_args()
    runs = {}
    for run in arguments.runs:
        name, _, log = run.partition("=")
        if not Path(log).is_file():
            raise UserError(f"{run}: no such log; give NAME=LOG")
        runs[name] = Path(log)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for color, (name, log) in enumerate(runs.items()):
        if len(read_curve(log, "valid", "wwmlm_loss")[0]) > 1:
            losses.plot(*read_curve(log, "train_inner", "wwmlm_loss"), color=f"C{color}", alpha=0.35, linewidth=1)
        for axis, metric in ((losses, "wwmlm_loss"), (accuracies, "wwmlm_accuracy")):
            updates, values = read_curve(log, "valid", metric)
            if not values:
                raise UserError(f"{log}: no validation with {metric}; train with --log-format json")
            axis.plot(updates, values, color=f"C{color}", marker="o", markersize=3, label=name)
            print(f"{name}: valid {metric} {values[-1]:.2f} after {updates[-1]} updates")
    losses.set_title("WWMLM loss (pale: training)")
    accuracies.set_title("masked pieces found, %")
    for axis in (losses, accuracies):
        axis.set_xlabel("updates")
        axis.grid(alpha=0.3)
    accuracies.legend()
    figure.savefig(arguments.picture, dpi=120)
    print(arguments.picture)


if __name__ == "__main__":
    run_command(main)
