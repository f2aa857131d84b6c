"""Which lines of a film's subtitles can become utterances, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .subtitle_text import Cleaning, clean_text, several_speakers
from .subtitles import Line


@dataclass(frozen=True, slots=True)
class LineRules:
    """What a usable line is."""

    cleaning: Cleaning = "english"
    shortest: float = 1.0
    """Seconds; the paper's."""
    longest: float = 60.0
    """Seconds; longer ones are mistakes of the file."""
    largest_overlap: float = 0.5
    """Seconds by which a line may run into the next one; it is then cut there."""


@dataclass(frozen=True, slots=True)
class DroppedLine:
    """A line that is not used."""

    line: Line
    reason: str


def usable_lines(
    lines: Sequence[Line], duration: float | None, rules: LineRules | None = None
) -> tuple[list[Line], list[DroppedLine]]:
    """Clean lines and leave out what cannot be an utterance.

    Lines that overlap by little are separated where the later one begins; of lines that overlap by more, or lie inside
    each other, none is used, since nobody can tell whose voice is heard. What reaches beyond the film is cut off.

    Args:
        lines: in order of time.
        duration: the film's, in seconds; None where it is unknown.
        rules: what a usable line is (None: the defaults).

    Returns:
        Lines with cleaned texts that do not overlap, in order of time, and the others in order of their numbers.
    """
    rules = rules or LineRules()
    dropped: list[DroppedLine] = []
    candidates: list[Line] = []
    seen: set[tuple[float, float, str]] = set()
    for line in lines:
        text = clean_text(line.text, rules.cleaning)
        key = (line.start, line.end, text)
        reason = _objection(line, text, duration, rules)
        if not reason and key in seen:
            reason = "the same line twice"
        seen.add(key)
        if reason:
            dropped.append(DroppedLine(line, reason))
        else:
            candidates.append(replace(line, text=text))
    used = []
    for line, reason in _separated(candidates, rules.largest_overlap):
        if duration is not None and line.end > duration:
            line = replace(line, end=duration)
        if not reason and _shorter(line, rules.shortest):
            reason = f"shorter than {rules.shortest:g} s"
        if reason:
            dropped.append(DroppedLine(line, reason))
        else:
            used.append(line)
    return used, sorted(dropped, key=lambda each: each.line.number)


def _objection(line: Line, text: str, duration: float | None, rules: LineRules) -> str:
    if not text:
        return "no spoken text"
    if line.end <= line.start:
        return "ends when it begins"
    if duration is not None and line.start >= duration:
        return "beyond the film's end"
    if line.end - line.start > rules.longest:
        return f"longer than {rules.longest:g} s"
    if rules.cleaning == "english" and several_speakers(line.text):
        return "words of two speakers"
    return ""


def _separated(lines: Sequence[Line], largest_overlap: float) -> list[tuple[Line, str]]:
    """Lines that overlap with no other, and a reason for those that cannot be separated."""
    reasons = [""] * len(lines)
    ends = [line.end for line in lines]
    open_lines: list[int] = []
    for index, line in enumerate(lines):
        open_lines = [earlier for earlier in open_lines if lines[earlier].end > line.start]
        for earlier in open_lines:
            overlap = min(lines[earlier].end, line.end) - line.start
            if overlap > largest_overlap or lines[earlier].end > line.end:
                reasons[earlier] = reasons[index] = "at the same time as another line"
            else:
                ends[earlier] = min(ends[earlier], line.start)
        open_lines.append(index)
    return [(replace(line, end=end), reason) for line, end, reason in zip(lines, ends, reasons, strict=True)]


def _shorter(line: Line, shortest: float) -> bool:
    return line.end - line.start < shortest - 1e-6
