"""A picture as PNG and SVG with the same bytes for the same numbers, drawn in styles that survive grey printing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Style:
    """How one series is drawn: each of the three (the line as matplotlib's line style) tells it from the others."""

    color: str
    marker: str
    line: Any


# Colours of Okabe and Ito, which colour-blind readers can tell apart, ordered so that neighbours differ in lightness.
STYLES = (
    Style("#000000", "o", "-"),
    Style("#d55e00", "s", "--"),
    Style("#0072b2", "^", "-."),
    Style("#e69f00", "D", ":"),
    Style("#009e73", "v", (0, (5, 1, 1, 1, 1, 1))),
    Style("#cc79a7", "P", (0, (1, 1))),
    Style("#56b4e9", "X", (0, (8, 3))),
    Style("#666666", "<", (0, (3, 1, 1, 1))),
)

_SETTINGS = {
    # Names come from files: a dollar sign in one is no formula.
    "text.parse_math": False,
    "svg.hashsalt": "memobert-report",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "font.size": 9.0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A picture ready to be written.

    Attributes:
        stem: file name without its ending.
        title: what it shows, with the marks that concern all of it.
        caption: how to read it.
        png: the file.
        svg: the file.
    """

    stem: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def style(number: int) -> Style:
    """Style of the series of that number, from 0; they repeat after eight."""
    return STYLES[number % len(STYLES)]


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of that size in inches; drawn inside this block it looks the same whatever the user's own
    matplotlib settings are.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib.style
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            "matplotlib is not installed; pip install 'memobert-plugin[plot]', or give --no-pictures"
        ) from None
    with matplotlib.style.context(["default", _SETTINGS]):
        yield Figure(figsize=(width, height), layout="constrained")


def finish(figure: Figure, stem: str, title: str, caption: str) -> Picture:
    """Put the title over a figure and render it, without dates or versions that would change the bytes."""
    figure.suptitle(title, fontsize=10, wrap=True)
    files = {}
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        stream = io.BytesIO()
        figure.savefig(stream, format=ending, dpi=160, metadata=metadata)
        files[ending] = stream.getvalue()
    return Picture(stem, title, caption, files["png"], files["svg"])
