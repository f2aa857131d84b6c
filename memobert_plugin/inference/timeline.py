"""The drawing of what happens over time: rows above each other, one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

from ..pages.drawings import LEFT, color, image, number, points_of, rect, svg

WIDTH = 980
RIGHT = 20
FOR, AGAINST = "#0072b2", "#d55e00"
_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0)


class Tracks:
    """Rows above each other that share a time axis: everything of a clip that has a time.

    Args:
        seconds: what the axis covers.
        start: time in the film at which it begins, for the numbers of the axis.
        subject: what a screen reader says of the drawing.
    """

    def __init__(self, seconds: float, subject: str, start: float = 0.0) -> None:
        self._seconds, self._subject, self._start = max(seconds, 1e-3), subject, start
        self._parts: list[str] = []
        self._y = 6.0

    def x(self, time: float) -> float:
        """Place of a time."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(time / self._seconds, 0.0), 1.0)

    def holds(self, time: float) -> bool:
        """Whether a time lies on the axis."""
        return 0.0 <= time < self._seconds

    def pictures(self, name: str, pictures: Sequence[tuple[float, str, int, int]], height: float = 84.0) -> None:
        """Pictures (time, address, width, height) around their times."""
        shown: list[str] = []
        tallest = 0.0
        places = [self.x(time) for time, *_ in pictures]
        room = min((later - earlier for earlier, later in pairwise(places)), default=float(WIDTH))
        for time, address, wide, high in pictures:
            width = min(room - 3, height * wide / high)
            tall = width * high / wide
            left = min(max(self.x(time) - width / 2, LEFT), WIDTH - RIGHT - width)
            shown.append(image(address, left, self._y, width, tall, f"at {time:.1f} s"))
            tallest = max(tallest, tall)
        self._row(name, "", tallest, "".join(shown))

    def faces(self, name: str, detail: str, faces: Sequence[tuple[float, str]]) -> None:
        """Small square pictures, as many as there is room for beside each other."""
        shown, free, side = [], float(LEFT), 40.0
        for time, address in faces:
            x = self.x(time)
            if free <= x <= WIDTH - RIGHT - side:
                shown.append(image(address, x, self._y, side, side, f"face read at {time:.1f} s"))
                free = x + side + 2
        self._row(name, detail, side, "".join(shown))

    def contributions(self, detail: str, times: np.ndarray, step: float, values: np.ndarray, largest: float) -> None:
        """A bar for every frame: up where it spoke for the answer, down where against."""
        half, middle = 22.0, self._y + 22.0
        bars = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}" stroke="#bbb"/>']
        for time, value in zip(times.tolist(), values.tolist(), strict=False):
            size = half * min(abs(value) / largest, 1.0) if largest > 0 else 0.0
            width = max(1.0, self.x(time + step) - self.x(time) - 1)
            top = middle - size if value > 0 else middle
            title = f"<title>{time:.2f} s: {value:+.3f}</title>"
            bars.append(
                f'<rect x="{number(self.x(time))}" y="{number(top)}" width="{number(width)}" '
                f'height="{number(max(size, 0.3))}" fill="{FOR if value > 0 else AGAINST}">{title}</rect>'
            )
        self._row("relied on", detail, 2 * half, "".join(bars))

    def stream(self, name: str, detail: str, times: np.ndarray, values: np.ndarray, classes: Sequence[str]) -> None:
        """Stacked areas (T, K), rows that add up to 1."""
        height = 84.0
        if len(times) == 1:
            times, values = np.array([times[0], times[0] + 0.1]), np.repeat(values, 2, axis=0)
        below = np.zeros(len(times))
        areas = []
        for index, kind in enumerate(classes):
            above = below + values[:, index]
            points = [(self.x(t), self._y + height * (1 - v)) for t, v in zip(times, above, strict=True)]
            points += [(self.x(t), self._y + height * (1 - v)) for t, v in zip(times[::-1], below[::-1], strict=True)]
            mean = float(values[:, index].mean())
            areas.append(
                f'<polygon points="{points_of(points)}" fill="{color(kind, classes)}">'
                f"<title>{escape(kind)}: {mean:.0%} on average</title></polygon>"
            )
            below = above
        self._row(name, detail, height, "".join(areas))

    def legend(self, names: Sequence[str]) -> None:
        """Colours and their names."""
        x, parts = float(LEFT), []
        for name in names:
            parts.append(
                f'<rect x="{number(x)}" y="{number(self._y)}" width="12" height="12" fill="{color(name, names)}"/>'
                f'<text x="{number(x + 17)}" y="{number(self._y + 11)}">{escape(name)}</text>'
            )
            x += 30 + 7.5 * len(name)
        self._row("", "", 14, "".join(parts))

    def waveform(
        self, name: str, detail: str, samples: np.ndarray, rate: int, voiced: Sequence[tuple[float, float]]
    ) -> None:
        """The sound's envelope; voiced stretches are shaded."""
        height = 64.0
        middle = self._y + height / 2
        parts = [
            f'<rect x="{number(self.x(begin))}" y="{number(self._y)}" '
            f'width="{number(self.x(end) - self.x(begin))}" height="{height}" fill="#dceaf5">'
            f"<title>speech from {begin:.1f} to {end:.1f} s</title></rect>"
            for begin, end in voiced
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
        parts.append(
            f'<polygon points="{points_of(upper + lower[::-1])}" fill="#444" stroke="#444" stroke-width=".6"/>'
        )
        self._row(name, detail, height, "".join(parts))

    def lines(self, name: str, detail: str, times: np.ndarray, values: np.ndarray, names: Sequence[str]) -> None:
        """Lines (S, C) of shares from 0 to 1."""
        height = 96.0
        parts = []
        for share in (0.0, 0.5, 1.0):
            y = number(self._y + height * (1 - share))
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
            parts.append(f'<text x="{WIDTH - RIGHT + 2}" y="{y}" class="tick">{share:.0%}</text>')
        for index, kind in enumerate(names):
            points = [(self.x(t), self._y + height * (1 - v)) for t, v in zip(times, values[:, index], strict=True)]
            parts.append(
                f'<polyline points="{points_of(points)}" fill="none" stroke="{color(kind, names)}" stroke-width="2.5">'
                f"<title>{escape(kind)}</title></polyline>"
            )
        self._row(name, detail, height, "".join(parts))

    def columns(
        self, name: str, detail: str, spans: Sequence[tuple[float, float, Mapping[str, float] | None, str]]
    ) -> None:
        """For each utterance (begin, end, probabilities or None, title) a column of stacked shares, with a link."""
        height, parts = 120.0, []
        for index, (begin, end, shares, title) in enumerate(spans):
            left, width = self.x(begin), max(self.x(end) - self.x(begin) - 0.5, 1.0)
            if shares is None:
                parts.append(rect(left, self._y, width, height, "#fff", 'stroke="#999" stroke-dasharray="3 2"', title))
                continue
            y, column = self._y + height, []
            for kind, share in shares.items():
                y -= share * height
                label = f"{title}: {kind} {share:.0%}"
                column.append(rect(left, y, width, share * height, color(kind, list(shares)), "", label))
            parts.append(f'<a href="#u{index}">{"".join(column)}</a>')
        self._row(name, detail, height, "".join(parts))

    def shade_unread(self, after: float, rows: float) -> None:
        """Veil the last ``rows`` pixels of height from a time on: the model did not read that."""
        if after >= self._seconds - 1e-3:
            return
        left = self.x(after)
        width = number(WIDTH - RIGHT - left)
        self._parts.append(
            f'<rect x="{number(left)}" y="{number(self._y - rows)}" width="{width}" height="{number(rows)}" '
            f'fill="#fff" opacity=".72"><title>not read by the model</title></rect>'
        )

    @property
    def height(self) -> float:
        """So far."""
        return self._y

    def svg(self) -> Markup:
        """The drawing, with the axis below."""
        step = next((tick for tick in _TICKS if self._seconds / tick <= 12), _TICKS[-1])
        parts = []
        for index in range(int(self._seconds / step + 1e-6) + 1):
            x = number(self.x(index * step))
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="{number(self._y)}" y2="{number(self._y + 5)}" stroke="#444"/>'
                f'<text x="{x}" y="{number(self._y + 18)}" text-anchor="middle" class="tick">'
                f"{clock(self._start + index * step, step)}</text>"
            )
        line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{number(self._y)}" y2="{number(self._y)}" stroke="#444"/>'
        return svg("".join([*self._parts, line, *parts]), self._y + 24, self._subject, WIDTH + 24)

    def _row(self, name: str, detail: str, height: float, content: str) -> None:
        middle = self._y + (min(height, 40.0) / 2 + 4)
        label = f'<text x="{LEFT - 12}" y="{number(middle)}" text-anchor="end">{escape(name)}</text>'
        if detail:
            y = number(middle + 15)
            label += f'<text x="{LEFT - 12}" y="{y}" text-anchor="end" class="tick">{escape(detail)}</text>'
        self._parts.append(label + content)
        self._y += max(height, 32.0 if detail else 0.0) + 10


def clock(seconds: float, step: float) -> str:
    if seconds < 120 and step < 30:
        return f"{seconds:g} s" if step >= 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
