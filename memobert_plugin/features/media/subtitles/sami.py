"""Parse SAMI: text that a later one of its class replaces, and of several languages the one that is asked for.

pysubs2 1.8.1 knows no classes, so that lines of two languages cut each other off. It ends every line after the time
that reading takes, even where the file shows it longer, and takes the name of a speaker beside the text for text.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from ....core.errors import DefectiveClip
from ..streams import agreement, wanted_language
from .cues import Cue, Cues

_BEGIN: Final = re.compile(r"\s*<SAMI\b", re.IGNORECASE)
_CLASS: Final = re.compile(r"\.([\w-]+)\s*\{([^}]*)\}")
_PROPERTY: Final = re.compile(r"\b(name|lang)\s*:\s*[\"']?([^;\"']+)", re.IGNORECASE)
_UNENDED: Final = 0.5
_PER_CHARACTER: Final = 0.067
"""Seconds that a line stays where nothing takes it off the screen, and those for each of its characters."""


class _Text(NamedTuple):
    """A text that a class shows from ``start`` (seconds) on; an empty payload shows nothing."""

    start: float
    payload: str


def is_sami(text: str) -> bool:
    """Return True if a file begins as SAMI does."""
    return _BEGIN.match(text) is not None


def parse_sami(path: Path, text: str, language: str | None = None) -> tuple[Cues, str]:
    """Return the cues of one class, and a remark.

    Args:
        path: the file, for the message.
        text: its content.
        language: the language of the class; None: English where the file marks it, else the first class.

    Raises:
        DefectiveClip: several classes, and none is marked with that language.
        UserError: no such language, or iso639-lang is missing.
    """
    parser = _Parser()
    parser.feed(text)
    parser.close()
    nothing = [one for one in parser.texts[""] if not one.payload]
    texts = {name: found for name, found in parser.texts.items() if any(one.payload for one in found)}
    if not texts:
        return Cues([], parser.unreadable), ""
    styles = {name: _marks(parser.style, name) for name in texts}
    taken = _chosen(path, styles, language)
    cues, remark = _cues(texts.pop(taken) + (nothing if taken else []))
    if texts:
        others = ", ".join(_named(name, styles[name]) for name in texts)
        choice = f"of several languages {_named(taken, styles[taken])} is read; there is also {others}"
        remark = "; ".join(filter(None, (choice, remark)))
    return Cues(cues, parser.unreadable), remark


def _chosen(path: Path, styles: dict[str, dict[str, str]], language: str | None) -> str:
    marks = {name: marked.get("lang", "") for name, marked in styles.items()}
    if len(marks) == 1:
        return next(iter(marks))
    if language is None:
        return next((name for name, mark in marks.items() if re.match(r"en\b", mark, re.IGNORECASE)), next(iter(marks)))
    wanted = wanted_language(language)
    found = max(marks, key=lambda name: agreement(wanted, marks[name]))
    if not agreement(wanted, marks[found]):
        there = ", ".join(_named(name, marked) for name, marked in styles.items())
        raise DefectiveClip(f"{path}: no lines in language {language}; there are: {there}")
    return found


def _cues(texts: list[_Text]) -> tuple[list[Cue], str]:
    """Let every text end where the next one of its class begins."""
    together: dict[float, list[str]] = defaultdict(list)
    for one in texts:
        together[one.start].append(one.payload)
    shown = [(start, "\n".join(filter(None, payloads))) for start, payloads in sorted(together.items())]
    cleared = not all(payload for _, payload in shown)
    cues = []
    for (start, payload), (following, _) in pairwise([*shown, (float("inf"), "")]):
        unended = round(start + _UNENDED + _PER_CHARACTER * len(html.unescape(payload)), 6)
        end = following if cleared and following < float("inf") else min(following, unended)
        if payload:
            cues.append(Cue(start, end, payload))
    remark = "" if cleared else "no line is taken off the screen: lines end after the time that reading takes"
    return cues, remark


def _marks(style: str, name: str) -> dict[str, str]:
    """Return the properties ``name`` and ``lang`` of a class."""
    for found in _CLASS.finditer(style):
        if found[1].casefold() == name:
            return {key.lower(): value.strip() for key, value in _PROPERTY.findall(found[2])}
    return {}


def _named(name: str, marked: dict[str, str]) -> str:
    facts = ", ".join(filter(None, (marked.get("name", ""), marked.get("lang", ""))))
    return f"{name.upper() or 'text without a class'}{f' ({facts})' if facts else ''}"


class _Parser(HTMLParser):
    """Gathers what each class shows, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[_Text]] = defaultdict(list)
        """By class, in lower case."""
        self.style = ""
        self.unreadable = 0
        self._start: float | None = None
        self._class = ""
        self._passed_over = True
        """True for what is no text: titles, styles, names of speakers."""
        self._payload: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self._payload.append("\n")
        if tag not in ("sync", "p"):
            return
        self._finish(paragraph_follows=tag == "p")
        values = {name: (value or "").strip() for name, value in attrs}
        if tag == "sync":
            found = re.match(r"\d{1,9}", values.get("start", ""))
            self._start = int(found[0]) / 1000 if found else None
            self.unreadable += found is None
            self._class = ""
        else:
            self._class = values.get("class", "").casefold()
        self._passed_over = self._start is None or values.get("id", "").casefold() == "source"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("sync", "body", "sami"):
            self._finish()

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.style += data
        elif not self._passed_over:
            self._payload.append(html.escape(re.sub(r"\s+", " ", data), quote=False))

    def close(self) -> None:
        super().close()
        self._finish()

    def _finish(self, paragraph_follows: bool = False) -> None:
        """Note the text that ends here, if it is one; between ``<SYNC>`` and ``<P>`` there is mostly none."""
        payload = "\n".join(row.strip() for row in "".join(self._payload).split("\n")).strip()
        self._payload.clear()
        if self._start is not None and not self._passed_over and (payload or not paragraph_follows or self._class):
            self.texts[self._class].append(_Text(self._start, payload))
        self._passed_over = True
