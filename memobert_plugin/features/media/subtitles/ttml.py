"""Write the times of TTML as pysubs2 reads them, which knows no frames, no ticks, no durations and no older namespace.

Source: W3C, Timed Text Markup Language 1 (third edition), 6.2 and 10.3.1. Films of streaming services count in ticks or
frames; older ``.dfxp`` files have the namespace of a draft.
"""

from __future__ import annotations

import re
from typing import Final

_NAMESPACE: Final = "http://www.w3.org/ns/ttml"
_DRAFTS: Final = re.compile(r"http://www\.w3\.org/2006/(?:04|10)/ttaf1\b")
_TAG: Final = re.compile(r"<[A-Za-z][^<>]*>")
_ATTRIBUTE: Final = re.compile(r"(?<![\w:.-])(begin|end|dur)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_PARAMETER: Final = r"\b{}\s*=\s*[\"']\s*(\d+)(?:[ :]+(\d+))?\s*[\"']"
_OFFSET: Final = re.compile(r"\s*(\d+(?:\.\d+)?)(h|ms|m|s|f|t)\s*")
_CLOCK: Final = re.compile(r"\s*(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)(?::(\d+)(?:\.\d+)?)?\s*")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def is_ttml(text: str) -> bool:
    """Return True if a file names the namespace of TTML or of one of its drafts."""
    return _NAMESPACE in text or _DRAFTS.search(text) is not None


def plain_ttml(text: str) -> str:
    """Return TTML whose times are in seconds and whose durations are ends.

    Raises:
        ValueError: a time of another form.
    """
    frame_rate = _parameter(text, "frameRate") or 30.0
    multiplier = _parameter(text, "frameRateMultiplier") or 1.0
    tick_rate = _parameter(text, "tickRate") or (frame_rate if _parameter(text, "frameRate") else 1.0)
    seconds = {**_SECONDS, "f": 1 / (frame_rate * multiplier), "t": 1 / tick_rate}

    def of(value: str) -> float:
        if offset := _OFFSET.fullmatch(value):
            return float(offset[1]) * seconds[offset[2]]
        if clock := _CLOCK.fullmatch(value):
            whole = 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
            return whole + int(clock[4] or 0) * seconds["f"]
        raise ValueError(f"{value!r} is no time of TTML")

    def in_seconds(tag: re.Match[str]) -> str:
        times = {name: of(double or single) for name, double, single in _ATTRIBUTE.findall(tag[0])}
        if not times:
            return tag[0]
        begin = times.get("begin", 0.0)
        if "dur" in times:
            times["end"] = min(times.get("end", float("inf")), begin + times.pop("dur"))
        bare = _ATTRIBUTE.sub("", tag[0])
        close = "/>" if bare.endswith("/>") else ">"
        written = "".join(f' {name}="{round(value, 3):.3f}s"' for name, value in times.items())
        return f"{bare.removesuffix(close)}{written}{close}"

    return _TAG.sub(in_seconds, _DRAFTS.sub(_NAMESPACE, text))


def _parameter(text: str, name: str) -> float | None:
    """Return a parameter of the root, or the quotient of its two numbers; None where it is not given or 0."""
    found = re.search(_PARAMETER.format(name), text)
    if found is None or not int(found[1]):
        return None
    return int(found[1]) / (int(found[2] or 1) or 1)
