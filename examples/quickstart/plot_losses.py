"""Draws the loss curves of the pre-training objectives from a fairseq-train log written with --log-format json."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

from memobert_plugin.core.console import run_command
from memobert_plugin.core.errors import UserError

OBJECTIVES = {
    "wwmlm": "WWMLM: words (cross-entropy)",
    "mvfr": "SpanMVFR: face features (squared error)",
    "mvfc": "SpanMVFC-KL: expressions (divergence)",
    "mafr": "SpanMAFR: voice features (squared error)",
    "co_prompting": "Co-prompting: emotion words (divergence)",
}
LOG_LINE = re.compile(r"\| (train_inner|train|valid) \| (\{.*\})$")


def read_curves(log: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Points (update, loss) by (objective, ``train`` or ``valid``).

    Raises:
        UserError: no log there, or none with these losses.
    """
    if not log.is_file():
        raise UserError(f"{log}: no such log; run the pre-training first")
    curves = defaultdict(list)
    for line in log.read_text(encoding="utf-8").splitlines():
        found = LOG_LINE.search(line)
        if found is None or found[1] == "train":
            continue
        subset, prefix = ("valid", "valid_") if found[1] == "valid" else ("train", "")
        values = json.loads(found[2])
        for objective in OBJECTIVES:
            if values.get(f"{prefix}{objective}_loss") not in (None, "nan"):  # not drawn in this interval
                update = int(values[f"{prefix}num_updates"])
                curves[objective, subset].append((update, float(values[f"{prefix}{objective}_loss"])))
    if not curves:
        raise UserError(f"{log}: no line with an objective's loss; train with --log-format json")
    return dict(curves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="output of fairseq-train")
    parser.add_argument("picture", type=Path, help=".png to write")
    arguments = parser.parse_args()
    curves = read_curves(arguments.log)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [objective for objective in OBJECTIVES if objective in {name for name, _ in curves}]
    size = (4.5 * len(shown), 3.5)
    figure, axes = pyplot.subplots(1, len(shown), figsize=size, squeeze=False, layout="constrained")
    for axis, objective in zip(axes.flat, shown, strict=True):
        for subset, style in (("train", {"color": "0.7", "linewidth": 1}), ("valid", {"color": "C0", "marker": "."})):
            updates, losses = zip(*curves.get((objective, subset), [(0, float("nan"))]), strict=True)
            axis.plot(updates, losses, label=subset, **style)
        axis.set_title(OBJECTIVES[objective], fontsize=10)
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.supxlabel("updates")
    figure.supylabel("loss")
    figure.savefig(arguments.picture, dpi=120)
    print(arguments.picture)


if __name__ == "__main__":
    run_command(main)
