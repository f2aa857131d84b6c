"""Drawings for the page: SVG text with every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

LEFT = 150
"""Where drawings begin; names stand before."""

_BY_NAME = {
    "anger": "#d55e00",
    "angry": "#d55e00",
    "happy": "#e69f00",
    "happiness": "#e69f00",
    "joy": "#e69f00",
    "neutral": "#9a9a9a",
    "sad": "#0072b2",
    "sadness": "#0072b2",
    "surprise": "#f0e442",
    "fear": "#cc79a7",
    "disgust": "#009e73",
    "contempt": "#56b4e9",
}
_OTHERS = ("#332288", "#882255", "#117733", "#44aa99", "#ddcc77", "#aa4499", "#88ccee", "#661100")


def color(name: str, names: Sequence[str]) -> str:
    """An emotion's colour, the same on the whole page (Okabe and Ito's, which colour-blind readers tell apart)."""
    return _BY_NAME.get(name.lower(), _OTHERS[list(names).index(name) % len(_OTHERS)])


def probability_bars(probabilities: Mapping[str, float]) -> Markup:
    """A bar for every emotion."""
    height, names = 26, list(probabilities)
    parts = []
    for row, (name, share) in enumerate(probabilities.items()):
        y = row * height
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 18}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y + 4}" width="{number(share * 500)}" height="18" fill="{color(name, names)}"/>'
            f'<text x="{number(LEFT + share * 500 + 8)}" y="{y + 18}">{share:.0%}</text>'
        )
    return svg("".join(parts), height * len(names), "probability of each emotion", 760)


def small_bar(probabilities: Mapping[str, float]) -> Markup:
    """All probabilities in one bar, for a row of a table."""
    names, x, parts = list(probabilities), 0.0, []
    for name, share in probabilities.items():
        title = f"<title>{escape(name)} {share:.0%}</title>"
        parts.append(
            f'<rect x="{number(x)}" width="{number(share * 160)}" height="14" '
            f'fill="{color(name, names)}">{title}</rect>'
        )
        x += share * 160
    return svg("".join(parts), 14, "probabilities", 160)


def svg(content: str, height: float, subject: str, width: int) -> Markup:
    """A drawing of that size; ``subject`` is what a screen reader says."""
    return Markup(
        f'<svg viewBox="0 0 {width} {number(height)}" width="{width}" role="img" aria-label="{escape(subject)}" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def image(address: str, x: float, y: float, width: float, height: float, title: str) -> str:
    """A picture by its ``data:`` address."""
    return (
        f'<image x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
        f'href="{address}"><title>{escape(title)}</title></image>'
    )


def rect(x: float, y: float, width: float, height: float, fill: str, more: str, title: str) -> str:
    """A rectangle with a title that is shown under the pointer."""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" fill="{fill}" '
        f"{more}><title>{escape(title)}</title></rect>"
    )


def points_of(points: Sequence[tuple[float, float]]) -> str:
    """Of a line or polygon."""
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def number(value: float) -> str:
    """To a tenth of a pixel."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if value == value else "0"
