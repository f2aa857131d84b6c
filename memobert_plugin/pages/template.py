"""Templates of HTML pages: each extends ``base.html``, which carries the one stylesheet, and asks no other file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Template

STYLE = Path(__file__).with_name("style.css")


def load_template(path: Path) -> Template:
    """Load a page's own template; whatever it inserts is escaped, and an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(path.read_text(encoding="utf-8"))


def media_address(clip: Path | None, folder: Path | None) -> str:
    """Return a clip's address from a page in ``folder``; empty without a file, or on another drive."""
    if clip is None or folder is None or clip.is_dir():
        return ""
    try:
        return quote(Path(os.path.relpath(clip, folder)).as_posix())
    except ValueError:
        return ""
