"""All HTML pages share one head, one stylesheet and one palette, and ask no other file or host."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from jinja2 import UndefinedError

import memobert_plugin
from memobert_plugin.data.frames import FERPLUS_CLASSES
from memobert_plugin.evaluation.report.figures import STYLES
from memobert_plugin.pages.drawings import Tracks, clock, emotion_colors, number, rgb_of, runs_of, small_bar
from memobert_plugin.pages.template import load_template

PACKAGE = Path(memobert_plugin.__file__ or "").parent
STYLE = (PACKAGE / "pages" / "style.css").read_text(encoding="utf-8")
TEMPLATES = sorted(path for path in PACKAGE.rglob("*.html") if path.name not in ("base.html", "parts.html"))


def test_words_for_one_emotion_share_a_colour_and_no_others_do() -> None:
    colors = emotion_colors(["sad", "Sadness", "happy", "joy", "anger", *FERPLUS_CLASSES])
    assert colors["sad"] == colors["Sadness"] == colors["sadness"]
    assert colors["happy"] == colors["joy"] == colors["happiness"]
    assert len(set(colors.values())) == len(FERPLUS_CLASSES)


def test_unknown_emotions_have_colours_of_their_own() -> None:
    names = [*FERPLUS_CLASSES, *(f"mood {number}" for number in range(40))]
    assert len(set(emotion_colors(names).values())) == len(names)


def test_a_colour_means_an_emotion_and_nothing_else() -> None:
    used = set(re.findall(r"#[0-9a-f]{6}", STYLE))
    for template in TEMPLATES:
        used |= set(re.findall(r"#[0-9a-f]{6}", template.read_text(encoding="utf-8")))
    used |= {style.color for style in STYLES}
    assert not used & set(emotion_colors([*FERPLUS_CLASSES, "calm", "excited", "frustrated"]).values())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_page_extends_the_one_base_and_has_no_style_of_its_own(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert text.startswith('{% extends "base.html" %}') and "<style" not in text and "<head>" not in text


def test_pages_ask_no_other_file_or_host_and_follow_the_readers_mode() -> None:
    assert not re.search(r"url\(|@import|https?:", STYLE)
    assert "prefers-color-scheme: dark" in STYLE
    base = (PACKAGE / "pages" / "base.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in base and "width=device-width" in base and "<script" not in base


def test_text_is_escaped_and_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}')
    html = load_template(page).render(name="<b>")
    assert "<title>&lt;b&gt;</title>" in html and "--ink" in html
    with pytest.raises(UndefinedError):
        load_template(page).render()


def test_expression_is_drawn_with_gaps_where_no_face_was_seen() -> None:
    tracks = Tracks(2.0, "<face> & voice", emotion_colors(["anger", "sad"]))
    times = np.array([0.0, 0.1, 0.2, 1.0, 1.1])
    tracks.stream("expression", "", times, np.full((5, 2), 0.5), ["anger", "sad"])
    tracks.intervals("voice", [(0.5, 1.5)])
    drawing = ElementTree.fromstring(tracks.svg())
    assert len(drawing.findall("{*}polygon")) == 4
    assert [run.tolist() for run in runs_of(times, 0.1)] == [[0, 1, 2], [3, 4]]
    assert drawing.attrib["aria-label"] == "<face> & voice"


def test_bars_numbers_and_times() -> None:
    colors = emotion_colors(["a<b", "sad"])
    bar = ElementTree.fromstring(small_bar({"a<b": 0.25, "sad": 0.75}, colors))
    assert [rect.attrib["width"] for rect in bar] == ["40", "120"]
    assert (number(100.0), number(0.25), number(float("nan"))) == ("100", "0.2", "0")
    assert (clock(3.5, 0.5), clock(61), clock(3661)) == ("3.5 s", "1:01", "1:01:01")


@pytest.mark.parametrize(
    ("color", "rgb"), [("#d55e00", (213, 94, 0)), ("hsl(120.0 100% 50%)", (0, 255, 0)), ("hsl(0.0 0% 50%)", (128,) * 3)]
)
def test_colours_of_pages_become_red_green_and_blue(color: str, rgb: tuple[int, ...]) -> None:
    assert rgb_of(color) == rgb
