"""The page a person reads: one HTML file with its pictures inside, which asks no other file or host for anything."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .pictures import Picture
from .tables import Table

if TYPE_CHECKING:
    from .report import Report


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its address within the page.
        heading: its title.
        tables: shown below the pictures.
        pictures: shown first.
    """

    anchor: str
    heading: str
    tables: Sequence[Table]
    pictures: Sequence[Picture] = ()


def render(report: Report) -> str:
    """The page; whatever comes from a file is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["inline"] = _inline
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(report=report)


def _inline(picture: Picture) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.svg).decode()}"
