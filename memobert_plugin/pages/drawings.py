"""SVG drawings for HTML pages: probability bars, and rows over a common time axis. All names are escaped.

Colours that are no emotion come from classes of ``style.css``, so that drawings follow the reader's dark mode.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from markupsafe import Markup, escape

from ..core.names import clock_time

# Okabe and Ito's eight colours, which colour-blind readers can tell apart, and six for rarer labels.
_EMOTIONS: Final = {
    "anger": "#d55e00", "happiness": "#e69f00", "neutral": "#9a9a9a", "sadness": "#0072b2", "surprise": "#f0e442",
    "fear": "#cc79a7", "disgust": "#009e73", "contempt": "#56b4e9", "excitement": "#882255", "frustration": "#332288",
    "calm": "#44aa99", "boredom": "#661100", "shame": "#aa4499", "pride": "#117733",
}  # fmt: skip
_SYNONYMS: Final = {
    "angry": "anger", "happy": "happiness", "joy": "happiness", "sad": "sadness", "surprised": "surprise",
    "fearful": "fear", "disgusted": "disgust", "excited": "excitement", "frustrated": "frustration",
    "bored": "boredom",
}  # fmt: skip

WIDTH: Final = 720
LEFT: Final = 2
RIGHT: Final = 60
"""Pixels right of a drawing's time axis, for the numbers of its scale. Names stand above their rows, so that the same
drawing can be read on a phone, where ``style.css`` makes its letters larger.
"""
_HSL: Final = re.compile(r"hsl\(([\d.]+) ([\d.]+)% ([\d.]+)%\)")
_NAME: Final = 26.0
"""Pixels of a row's name."""
_TICKS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0)


def emotion_colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name on a page; words for one emotion (sad, sadness) share one, no others do."""
    colors: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name in names:
        emotion = _SYNONYMS.get(name.lower(), name.lower())
        if emotion not in _EMOTIONS:
            # The golden angle keeps any number of further hues apart; 43 % lightness is none of the colours above.
            unknown.setdefault(emotion, f"hsl({(len(unknown) * 137.5 + 75) % 360:.1f} 60% 43%)")
        colors[name] = _EMOTIONS.get(emotion) or unknown[emotion]
    return colors


def rgb_of(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of ``#rrggbb`` or ``hsl(h s% l%)``."""
    found = _HSL.fullmatch(color)
    if found is None:
        red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
        return red, green, blue
    hue, saturation, lightness = (float(value) for value in found.groups())
    parts = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def small_bar(probabilities: Mapping[str, float], colors: Mapping[str, str]) -> Markup:
    """Draw all probabilities as one stacked bar, for a row of a table."""
    x, parts = 0.0, []
    for name, share in probabilities.items():
        parts.append(rect(x, 0, share * 160, 14, f'fill="{colors[name]}"', f"{name} {share:.0%}"))
        x += share * 160
    return svg("".join(parts), 14, "probabilities", 160)


def small_bars(bars: Mapping[str, tuple[float, str]], colors: Mapping[str, str]) -> Markup:
    """Draw a short bar for each of several independent values side by side; see :func:`value_bars`."""
    width = 160 / max(1, len(bars))
    parts = []
    for place, (name, (share, value)) in enumerate(bars.items()):
        parts.append(rect(place * width, 0, share * (width - 2), 14, f'fill="{colors[name]}"', f"{name} {value}"))
    return svg("".join(parts), 14, "values", 160)


def value_bars(
    title: str, bars: Mapping[str, tuple[float, str]], colors: Mapping[str, str], remarks: Sequence[str] = ()
) -> Markup:
    """Draw a bar for each value, for a notebook: no stylesheet is needed, and its text colour is kept.

    Args:
        title: above the bars.
        bars: by name, the filled share of a bar, from 0 to 1, and the value in words.
        colors: by name.
        remarks: below the bars.
    """
    row = Markup(
        '<tr><td style="text-align:left">{}</td><td style="text-align:left;width:24em">'
        '<div style="background:{};width:{:.1f}%;height:1em"></div></td><td>{}</td></tr>'
    )
    rows = Markup("").join(row.format(name, colors[name], 100 * share, value) for name, (share, value) in bars.items())
    notes = Markup("").join(Markup("<div>{}</div>").format(remark) for remark in remarks)
    return Markup("<div><strong>{}</strong><table>{}</table><small>{}</small></div>").format(title, rows, notes)


def svg(content: str, height: float, subject: str, width: int, *, role: str = "img", kind: str = "") -> Markup:
    """Wrap SVG elements in a drawing; ``subject`` is its text for screen readers, ``kind`` its class."""
    shown = f' class="{kind}"' if kind else ""
    return Markup(
        f'<svg viewBox="0 0 {width} {number(height)}" width="{width}" role="{role}" aria-label="{escape(subject)}"'
        f'{shown} xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def image(address: str, x: float, y: float, width: float, height: float, title: str) -> str:
    """Draw a picture given by its ``data:`` address."""
    return (
        f'<image x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
        f'href="{address}"><title>{escape(title)}</title></image>'
    )


def rect(x: float, y: float, width: float, height: float, look: str, title: str = "") -> str:
    """Draw a rectangle; ``look`` holds its attributes, ``title`` is shown under the pointer."""
    named = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" {look}>{named}</rect>'
    )


def text(x: float, y: float, content: str, look: str = "") -> str:
    """Draw a text; ``look`` holds its attributes."""
    return f'<text x="{number(x)}" y="{number(y)}" {look}>{escape(content)}</text>'


def points_of(points: Iterable[tuple[float, float]]) -> str:
    """Format the corners of a line or polygon."""
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def number(value: float) -> str:
    """Format pixels to a tenth; NaN becomes 0."""
    return f"{value:.1f}".removesuffix(".0") if value == value else "0"


class Tracks:
    """A drawing of rows above one time axis, filled from the top.

    Args:
        seconds: length of the axis.
        subject: its text for screen readers.
        colors: from :func:`emotion_colors`, for every emotion that is drawn.
        start: time in the film at the axis's beginning, for its numbers.
    """

    def __init__(self, seconds: float, subject: str, colors: Mapping[str, str], start: float = 0.0) -> None:
        self._seconds, self._subject, self._start = max(seconds, 1e-3), subject, start
        self._colors = colors
        self._parts: list[str] = []
        self._role = "img"
        self._y = 2.0

    def x(self, time: float) -> float:
        """Return the horizontal place of a time."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(time / self._seconds, 0.0), 1.0)

    def holds(self, time: float) -> bool:
        """Tell whether a time is on the axis."""
        return 0.0 <= time < self._seconds

    def pictures(self, name: str, pictures: Sequence[tuple[float, str, int, int]], height: float = 84.0) -> None:
        """Add pictures (time, address, width, height), each centred on its time."""
        shown: list[str] = []
        tallest = 0.0
        self._named(name, "")
        places = [self.x(time) for time, *_ in pictures]
        room = min((later - earlier for earlier, later in pairwise(places)), default=float(WIDTH))
        for time, address, wide, high in pictures:
            width = min(room - 3, height * wide / high)
            tall = width * high / wide
            left = min(max(self.x(time) - width / 2, LEFT), WIDTH - RIGHT - width)
            shown.append(image(address, left, self._y, width, tall, f"at {time:.1f} s"))
            tallest = max(tallest, tall)
        self._row(tallest, "".join(shown))

    def faces(self, name: str, detail: str, faces: Sequence[tuple[float, str]]) -> None:
        """Add small square pictures (time, address), as many as fit side by side."""
        self._named(name, detail)
        shown, free, side = [], float(LEFT), 40.0
        for time, address in faces:
            x = self.x(time)
            if free <= x <= WIDTH - RIGHT - side:
                shown.append(image(address, x, self._y, side, side, f"face read at {time:.1f} s"))
                free = x + side + 2
        self._row(side, "".join(shown))

    def intervals(self, name: str, intervals: Iterable[tuple[float, float]], look: str = 'class="ink"') -> None:
        """Add a thin row with a bar for each (begin, end)."""
        self._named(name, "")
        parts = [rect(LEFT, self._y, WIDTH - LEFT - RIGHT, 8, 'class="soft"')]
        for begin, end in intervals:
            width = self.x(end) - self.x(begin)
            parts.append(rect(self.x(begin), self._y, width, 8, look, f"{begin:.1f} to {end:.1f} s"))
        self._row(8, "".join(parts))

    def contributions(self, name: str, times: np.ndarray, step: float, values: np.ndarray, largest: float) -> None:
        """Add a bar for every frame: up where it spoke for the answer, down where against."""
        self._named(name, "up: for the answer, down: against it")
        half, middle = 22.0, self._y + 22.0
        bars = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}" class="line"/>']
        for time, value in zip(times.tolist(), values.tolist(), strict=False):
            size = half * min(abs(value) / largest, 1.0) if largest > 0 else 0.0
            width = max(1.0, self.x(time + step) - self.x(time) - 2)
            look = f'class="{"for" if value > 0 else "against"}"'
            top = middle - size if value > 0 else middle
            bars.append(rect(self.x(time), top, width, max(size, 0.3), look, f"{time:.2f} s: {value:+.3f}"))
        self._row(2 * half, "".join(bars))

    def stream(self, name: str, detail: str, times: np.ndarray, values: np.ndarray, classes: Sequence[str]) -> None:
        """Add stacked areas of (T, K) shares that add up to 1, with a gap wherever frames are missing."""
        self._named(name, detail)
        height = 84.0
        step = time_step(times)
        tops = np.concatenate([np.zeros((len(times), 1)), np.cumsum(values, axis=1)], axis=1)
        areas = []
        for index, kind in enumerate(classes):
            title = f"<title>{escape(kind)}: {values[:, index].mean():.0%} on average</title>"
            for run in runs_of(times, step):
                x = [self.x(time) for time in (*times[run], times[run[-1]] + step)]
                above, below = (
                    [self._y + height * (1 - share) for share in (*tops[run, row], tops[run[-1], row])]
                    for row in (index + 1, index)
                )
                corners = [*zip(x, above, strict=True), *zip(x[::-1], below[::-1], strict=True)]
                areas.append(f'<polygon points="{points_of(corners)}" fill="{self._colors[kind]}">{title}</polygon>')
        self._row(height, "".join(areas))

    def waveform(
        self, name: str, detail: str, samples: np.ndarray, rate: int, voiced: Sequence[tuple[float, float]]
    ) -> None:
        """Add the sound's envelope, with the voiced stretches shaded."""
        self._named(name, detail)
        height = 64.0
        middle = self._y + height / 2
        parts = [
            rect(self.x(begin), self._y, self.x(end) - self.x(begin), height, 'class="shade"', title)
            for begin, end in voiced
            if (title := f"speech from {begin:.1f} to {end:.1f} s")
        ]
        shown = samples[: int(self._seconds * rate)]
        columns = min(620, len(shown))
        blocks = [block for block in np.array_split(shown, columns) if len(block)] if columns else []
        peak = max(float(np.abs(shown).max(initial=0.0)), 1e-6)
        upper, lower, time = [], [], 0.0
        for block in blocks:
            upper.append((self.x(time), middle - height / 2 * max(float(block.max()), 0.0) / peak))
            lower.append((self.x(time), middle - height / 2 * min(float(block.min()), 0.0) / peak))
            time += len(block) / rate
        parts.append(f'<polygon points="{points_of(upper + lower[::-1])}" class="wave"/>')
        self._row(height, "".join(parts))

    def lines(
        self,
        name: str,
        detail: str,
        times: np.ndarray,
        values: np.ndarray,
        names: Sequence[str],
        ticks: Sequence[str] = ("0%", "50%", "100%"),
    ) -> None:
        """Add a line for each name, of (S, C) shares from 0 to 1; ``ticks`` name the bottom, the middle and the top."""
        self._named(name, detail)
        height = 96.0
        parts = []
        for share, tick in zip((0.0, 0.5, 1.0), ticks, strict=True):
            y = number(self._y + height * (1 - share))
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="line"/>')
            parts.append(text(WIDTH - RIGHT + 2, float(y) + 4, tick, 'class="tick"'))
        for index, kind in enumerate(names):
            points = [(self.x(t), self._y + height * (1 - v)) for t, v in zip(times, values[:, index], strict=True)]
            parts.append(
                f'<polyline points="{points_of(points)}" fill="none" stroke="{self._colors[kind]}" '
                f'stroke-width="2.5"><title>{escape(kind)}</title></polyline>'
            )
        self._row(height, "".join(parts))

    def values(
        self,
        name: str,
        detail: str,
        spans: Sequence[tuple[float, float, tuple[float, str] | None, str]],
        addresses: Sequence[str],
        ends: tuple[str, str],
        threshold: float | None = None,
    ) -> None:
        """Add a row of one value for each utterance, as a link: a line on its scale, or a column with a threshold.

        Args:
            name: of the value, whose colour it has.
            detail: in a paler ink.
            spans: begin, end, the share of the scale with the value in words (None for no answer), and a title.
            addresses: of the links, which are left out of the keyboard's way as those of :meth:`columns` are.
            ends: words for the scale's bottom and top.
            threshold: share from which a value counts.
        """
        self._role = "group"
        self._named(name, detail)
        height, parts = 48.0, [rect(LEFT, self._y, WIDTH - LEFT - RIGHT, 48.0, 'class="soft"')]
        for (begin, end, value, title), address in zip(spans, addresses, strict=True):
            left, width = self.x(begin), max(self.x(end) - self.x(begin) - 0.5, 1.0)
            if value is None:
                parts.append(rect(left, self._y, width, height, 'class="none" stroke-dasharray="3 2"', title))
                continue
            top, look = self._y + height * (1 - value[0]), f'fill="{self._colors[name]}"'
            tall = 4.0 if threshold is None else height * value[0]
            top = min(top, self._y + height - 4) if threshold is None else top
            bar = rect(left, top, width, tall, look, f"{title}: {name} {value[1]}")
            parts.append(f'<a href="{escape(address)}" tabindex="-1" aria-label="{escape(title)}">{bar}</a>')
        for share, tick in zip((0.0, 1.0), ends, strict=True):
            parts.append(text(WIDTH - RIGHT + 2, self._y + height * (1 - share) + 8 * share, tick, 'class="tick"'))
        if threshold is not None:
            y = number(self._y + height * (1 - threshold))
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="axis"/>')
        self._row(height, "".join(parts))

    def columns(
        self, spans: Sequence[tuple[float, float, Mapping[str, float] | None, str]], addresses: Sequence[str]
    ) -> None:
        """Add a column of stacked shares for each utterance (begin, end, probabilities or None, title), as a link.

        The links are left out of the keyboard's way: the table beside the drawing has the same.
        """
        self._role = "group"
        height, parts = 120.0, []
        for (begin, end, shares, title), address in zip(spans, addresses, strict=True):
            left, width = self.x(begin), max(self.x(end) - self.x(begin) - 0.5, 1.0)
            if shares is None:
                parts.append(rect(left, self._y, width, height, 'class="none" stroke-dasharray="3 2"', title))
                continue
            y, column = self._y + height, []
            for kind, share in shares.items():
                y -= share * height
                look = f'fill="{self._colors[kind]}"'
                column.append(rect(left, y, width, share * height, look, f"{title}: {kind} {share:.0%}"))
            link = f'<a href="{escape(address)}" tabindex="-1" aria-label="{escape(title)}">'
            parts.append(f"{link}{''.join(column)}</a>")
        self._row(height, "".join(parts))

    def shade_unread(self, after: float, rows: float) -> None:
        """Veil the last ``rows`` pixels of height from a time on: the model did not read that."""
        if after >= self._seconds - 1e-3:
            return
        left = self.x(after)
        self._parts.append(
            rect(left, self._y - rows, WIDTH - RIGHT - left, rows, 'class="veil"', "not read by the model")
        )

    @property
    def height(self) -> float:
        """Height of the rows added so far, in pixels."""
        return self._y

    def svg(self) -> Markup:
        """Return the drawing, with the axis below."""
        step = next((tick for tick in _TICKS if self._seconds / tick <= 12), _TICKS[-1])
        y, parts = number(self._y), []
        for index in range(int(self._seconds / step + 1e-6) + 1):
            x = self.x(index * step)
            place = number(x)
            parts.append(f'<line x1="{place}" x2="{place}" y1="{y}" y2="{number(self._y + 5)}" class="axis"/>')
            label = clock(self._start + index * step, step)
            anchor = "middle" if index else "start"
            look = f'text-anchor="{anchor}" class="tick{" odd" if index % 2 else ""}"'
            parts.append(text(x, self._y + 22, label, look))
        line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="axis"/>'
        content = "".join([*self._parts, line, *parts])
        return svg(content, self._y + 28, self._subject, WIDTH, role=self._role, kind="tracks")

    def _named(self, name: str, detail: str) -> None:
        """Write the name of the next row, the detail in a paler ink."""
        paler = f' <tspan class="detail">{escape(detail)}</tspan>' if detail else ""
        self._parts.append(f'<text x="{LEFT}" y="{number(self._y + 17)}">{escape(name)}{paler}</text>')
        self._y += _NAME

    def _row(self, height: float, content: str) -> None:
        self._parts.append(content)
        self._y += height + 8


def time_step(times: np.ndarray) -> float:
    """Return the usual distance of frames from their times (T,), in seconds; 0.1 for a single frame."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.1


def runs_of(times: np.ndarray, step: float) -> list[np.ndarray]:
    """Return the indices (n,) of each stretch of times that follow each other without a gap."""
    return [run for run in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > 1.5 * step) + 1) if len(run)]


def clock(seconds: float, step: float = 60.0) -> str:
    """Format a time for an axis whose ticks are ``step`` seconds apart."""
    if seconds < 120 and step < 30:
        return f"{seconds:g} s" if step >= 1 else f"{seconds:.1f} s"
    return clock_time(seconds)
