"""The page is complete, self-contained and takes nothing from a file as HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from memobert_plugin import MEmoBERT
from memobert_plugin.core.errors import UserError
from memobert_plugin.inference.page import MOST_DETAILED, Page, details_folder, headline
from memobert_plugin.inference.prediction import Prediction
from memobert_plugin.inference.requests import run
from memobert_plugin.inference.utterance import Utterance
from tests.films import tone, write_film

EVIL = "<script>alert(1)</script>"
RNG = np.random.default_rng(1)


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]


@pytest.fixture(scope="module")
def preview_model(clip_bundle: Path) -> MEmoBERT:
    return MEmoBERT.from_pretrained(clip_bundle, preview=True)


def rendered(model: MEmoBERT, utterances: list[Utterance], timeline: bool = False) -> str:
    page = Page(model.description, timeline)
    for outcome in run(model, utterances, explained=True):
        page.add(outcome)
    return page.render()


def seen(text: str = "Stop it, go home!", name: str = "clip") -> Utterance:
    crops = RNG.normal(size=(20, 342)).astype(np.float32)
    expression = RNG.dirichlet(np.ones(8), size=20).astype(np.float32)
    return Utterance(text=text, visual=crops, expression=expression, waveform=tone(2.0), name=name)


def test_everything_is_on_the_page(preview_model: MEmoBERT) -> None:
    html = rendered(preview_model, [seen()])
    for heading in ("What is said", "Over the time of the clip", "What if something had been missing?", "How to read"):
        assert heading in html
    for label in (*preview_model.labels, *preview_model.description.expression_classes, "Gradient × input"):
        assert label in html
    for word in ("Stop", "it,", "go", "home!"):
        assert f">{word}</span>" in html
    assert html.count("<polygon") >= 8 and html.count("<polyline") == 4
    for name in ("what is said", "the face", "the sound"):
        assert f"without {name}" in html


def test_nothing_is_fetched_and_no_text_becomes_html(preview_model: MEmoBERT, tmp_path: Path) -> None:
    html = rendered(preview_model, [seen(EVIL, EVIL), Utterance(tmp_path / f"{'x' * 3}.wav", EVIL, name=EVIL)], True)
    found = Elements(html)
    assert "script" not in found.tags and "&lt;script&gt;" in html
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in found.addresses)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "") and "https://" not in html


def test_drawings_are_well_formed(preview_model: MEmoBERT, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a & b.mp4", seconds=2.0, samples=tone(2.0))
    html = rendered(preview_model, [Utterance(film, "go <now> & stop"), seen()])
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) >= 4
    for drawing in drawings:
        tree = ElementTree.fromstring(drawing)
        numbers = [value for node in tree.iter() for name, value in node.attrib.items() if name in ("x", "y", "width")]
        assert all(np.isfinite(float(value)) for value in numbers)
    assert len(re.findall(r"<image", html)) >= 1


def test_a_films_utterances_make_a_timeline_with_gaps_for_failures(preview_model: MEmoBERT, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=2.0, picture=None, samples=tone(2.0))
    asked = [Utterance(film, "", 0.0, 1.0, name="one"), Utterance(film, "", 5.0, 6.0, name="late")]
    html = rendered(preview_model, asked, timeline=True)
    assert "Over time" in html and html.count("stroke-dasharray") == 1
    assert "No answer for late" in html


def single(label: str, start: float, end: float) -> Prediction:
    return Prediction("clip", label, {label: 0.9}, {}, start=start, end=end, confidence=0.9)


def test_the_headline_says_what_came_out() -> None:
    line = [single("sad", 0.0, 2.0), single("happy", 2.0, 7.0), single("sad", 7.0, 8.0)]
    assert headline("film", line, timeline=True) == "film: happy for 5 s, sad for 3 s"
    assert headline("3 clips", line, timeline=False) == "3 clips: sad in 2, happy in 1"
    assert headline("clip", line[:1], timeline=False) == "clip: sad, 90 %"
    assert headline("clip", [], timeline=False) == "clip: no answer"


def test_moments_lead_to_the_film_and_drawings_stand_as_numbers(preview_model: MEmoBERT, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a #1.mp4", seconds=2.0, samples=tone(2.0))
    faces, shares = RNG.normal(size=(10, 342)).astype(np.float32), RNG.dirichlet(np.ones(8), size=10)
    given = Utterance(film, "stop it", 1.0, 2.0, visual=faces, expression=shares)
    [outcome] = run(preview_model, [given], explained=True)
    (tmp_path / "pages").mkdir()
    texts = []
    for linked in (True, False):
        page = Page(preview_model.description, timeline=False, linked=linked)
        page.add(outcome)
        page.write(tmp_path / "pages" / f"{linked}.html")
        texts.append((tmp_path / "pages" / f"{linked}.html").read_text(encoding="utf-8"))
    places = re.findall(r'href="\.\./a%20%231\.mp4#t=([\d.,]+)"', texts[0])
    assert places[0] == "1.0,2.0" and set(places[1:]) == {"1.0", "1.5"}
    assert "#t=" not in texts[1] and "Moments that mattered most" in texts[1]
    rows = re.findall(r'<tr><th scope="row">1\.[05] s</th>(.*?)</tr>', texts[1])
    assert len(rows) == 2 and all(len(re.findall(r"<td[^>]*>[^<]+</td>", row)) >= 3 for row in rows)


def test_further_utterances_have_pages_of_details_beside_the_page(preview_model: MEmoBERT, tmp_path: Path) -> None:
    many = [Utterance(text="stop it", name=f"u{number}") for number in range(2 * MOST_DETAILED + 1)]
    target = tmp_path / "a page.html"
    folder = details_folder(target, len(many), overwrite=False)
    page = Page(preview_model.description, timeline=False, beside=folder)
    for outcome in run(preview_model, many, explained=True):
        page.add(outcome)
    page.write(target)
    html = target.read_text(encoding="utf-8")
    assert html.count('<details id="u') == MOST_DETAILED
    assert f'<a href="a%20page-details/2.html#u{MOST_DETAILED}">' in html
    assert f'<a href="a%20page-details/3.html#u{2 * MOST_DETAILED}">' in html
    parts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "a page-details").iterdir()}
    assert set(parts) == {"2.html", "3.html"}
    assert parts["2.html"].count('<details id="u') == MOST_DETAILED
    assert parts["3.html"].count('<details id="u') == 1 and f'id="u{2 * MOST_DETAILED}"' in parts["3.html"]
    with pytest.raises(UserError, match="a page-details: exists already"):
        details_folder(target, len(many), overwrite=False)
    assert details_folder(tmp_path / "b.html", MOST_DETAILED, overwrite=False) is None


def test_only_so_many_utterances_are_shown_in_full(preview_model: MEmoBERT) -> None:
    many = [Utterance(text="stop it", name=f"u{number}") for number in range(MOST_DETAILED + 3)]
    html = rendered(preview_model, many)
    assert html.count('<details id="u') == MOST_DETAILED
    assert f"All {MOST_DETAILED + 3} answers" in html and f"The first {MOST_DETAILED} have details" in html


def test_a_text_alone_has_a_page_too(preview_model: MEmoBERT) -> None:
    html = rendered(preview_model, [Utterance(text="stop it")])
    assert "What is said" in html and "Over the time of the clip" not in html
    assert "Not used: the face (not given)" in html
