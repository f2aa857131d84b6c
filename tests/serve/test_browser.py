"""Chromium shows the pages: from a dropped or recorded clip to the answer, readable on a phone, and nothing for axe."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("starlette")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("axe_core_python")

import axe_core_python
from playwright.sync_api import Browser, Page, expect, sync_playwright

from memobert_plugin import MEmoBERT
from memobert_plugin.cli.extract import main as extract
from memobert_plugin.cli.report import main as report
from memobert_plugin.inference.page import Page as AnswerPage
from memobert_plugin.inference.requests import run
from memobert_plugin.inference.utterance import Utterance
from tests.evaluation.sweeps import write_grid
from tests.films import Cue, tone, write_film
from tests.inference.models import bundle_for_clips
from tests.talking_faces import DrawnFace, write_talking_film

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
START = "from memobert_plugin.cli.serve import cli_main\nif __name__ == '__main__':\n    cli_main()\n"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[str]:
    """The address of a server."""
    script = folder / "run.py"
    script.write_text(START, encoding="utf-8")
    command = [sys.executable, str(script), "--port", "0", "--max-megabytes", "20", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[1]
        server.terminate()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the shipped model."""
    with serving(tmp_path_factory.mktemp("serve")) as found:
        yield found


@pytest.fixture(scope="module", params=["dimensions", "several"])
def other_target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind of target, and a bundle of that kind."""
    flags = {"dimensions": ("--dimensions", "valence,arousal"), "several": ("--several-labels",)}[request.param]
    return request.param, bundle_for_clips(tmp_path_factory.mktemp("model"), "memobert_finetune", *flags)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "<i>film.mp4", seconds=4.0, samples=tone(4.0))


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The server's page, without an error in its console."""
    context = browser.new_context(permissions=["camera", "microphone"], color_scheme="dark")
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(address)
    yield opened
    assert said == []
    context.close()


def drop(page: Page, film: Path) -> None:
    """Drop a file on the page, as from a file manager."""
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
            const moved = new DataTransfer();
            moved.items.add(new File([new Uint8Array(bytes)], name, {type: "video/mp4"}));
            return moved;
        }""",
        [film.name, list(film.read_bytes())],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def ask(page: Page) -> None:
    page.click("#ask")
    expect(page.locator("#stop")).to_be_hidden(timeout=120_000)


def test_a_dropped_film_becomes_an_answer_with_its_page_and_its_lines(page: Page, film: Path) -> None:
    drop(page, film)
    expect(page.locator("#chosen")).to_have_text(f"chosen: {film.name}")
    page.select_option("#every", "2")
    ask(page)
    expect(page.locator("#status")).to_have_text(f"done: {film.name}")
    expect(page.locator("#answers tr")).to_have_count(2)
    assert re.search(r" in [12] of 2", page.inner_text("#headline"))
    page.click("#answers button >> nth=1")
    assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(2.0, abs=0.5)
    shown = page.frame_locator("#reasons")
    expect(shown.locator("h1")).to_have_text(re.compile(r"^<i>film\.mp4: \w+ for "))
    with page.expect_download() as saved:
        page.click("#json-link")
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 and '"label"' in lines[0]


def test_a_recording_by_camera_and_microphone_is_answered(page: Page) -> None:
    page.click("#record")
    page.wait_for_timeout(2500)
    page.click("#record")
    expect(page.locator("#chosen")).to_have_text("chosen: recording.webm")
    ask(page)
    expect(page.locator("#answers tr")).to_have_count(1)
    expect(page.locator("#problem")).to_be_hidden()
    assert "%" in page.inner_text("#headline")


def test_a_sentence_is_answered_and_mistakes_are_said(page: Page, tmp_path: Path) -> None:
    page.click("#ask")
    expect(page.locator("#problem")).to_have_text("choose or record a clip, or type what is said")
    page.fill("#text", "I am so glad")
    page.keyboard.press("Enter")
    expect(page.locator("#headline")).to_have_text(re.compile(r"^\w+, \d+ %"), timeout=60_000)
    page.fill("#text", "")
    (tmp_path / "large.mp4").write_bytes(bytes(21 << 20))
    page.set_input_files("#clip", tmp_path / "large.mp4")
    expect(page.locator("#problem")).to_have_text("large.mp4: this server takes 20 MB at most")


def test_a_page_of_another_site_gets_no_answer(browser: Browser, address: str) -> None:
    context = browser.new_context()
    other = context.new_page()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    other.route(f"http://127.0.0.1:{port}/", lambda route: route.fulfill(body="<title>other</title>"))
    other.goto(f"http://127.0.0.1:{port}/")
    sent = "fetch(address + '/predict', {mode, method: 'POST', body: new URLSearchParams({text: 'hello'})})"
    asked = f"([address, mode]) => {sent}.then((response) => response.type, (error) => error.name)"
    assert [other.evaluate(asked, [address, mode]) for mode in ("cors", "no-cors")] == ["TypeError", "TypeError"]
    context.close()


def violations(shown: Page) -> list[tuple[str, str]]:
    """Rules and elements that axe objects to; a context must bypass the pages' own policy, which refuses scripts."""
    script = next(Path(axe_core_python.__file__ or "").parent.rglob("axe.min.js")).read_text(encoding="utf-8")
    shown.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    shown.add_script_tag(content=script)
    found = shown.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_and_several_labels_are_served_and_have_pages(
    browser: Browser, other_target: tuple[str, Path], film: Path, tmp_path: Path, scheme: Any
) -> None:
    kind, bundle = other_target
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 900}, bypass_csp=True)
    shown = context.new_page()
    with serving(tmp_path, "--model", str(bundle)) as place:
        shown.goto(place)
        drop(shown, film)
        shown.select_option("#every", "2")
        ask(shown)
        expect(shown.locator("#answers tr")).to_have_count(2)
        names = ["valence", "arousal"] if kind == "dimensions" else ["anger", "happy", "neutral", "sad"]
        rows = shown.locator("#answers tr").all_inner_texts()
        wanted = r"{} [-\d.]+" if kind == "dimensions" else r"{}\s+\d+ % \((yes|no)\)"
        assert all(re.search(wanted.format(name), row) for name in names for row in rows)
        assert shown.locator("#chart rect").count() == 2 * len(names)
        assert ("on average" if kind == "dimensions" else " of 2") in shown.inner_text("#headline")
        assert shown.frame_locator("#reasons").locator("svg.tracks a").count() == 2 * len(names)
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390 and violations(shown) == []
    shown.goto(answers_page(tmp_path, MEmoBERT.from_pretrained(bundle, preview=True), 342).as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390 and violations(shown) == []
    context.close()


def answers_page(folder: Path, model: MEmoBERT, dim: int = 8) -> Path:
    film = write_film(folder / "film.mp4", seconds=3.0, samples=tone(3.0))
    written = AnswerPage(model.description, timeline=True)
    shares = np.random.default_rng(1).dirichlet(np.ones(8), size=20).astype(np.float32)
    faces = np.random.default_rng(1).normal(size=(20, dim)).astype(np.float32) if dim > 8 else shares
    parts = [Utterance(film, "I am so glad", 0.0, 1.5), Utterance(film, "", 1.5, 3.0, visual=faces, expression=shares)]
    for outcome in run(model, parts, explained=True):
        written.add(outcome)
    written.write(folder / "answers.html")
    return folder / "answers.html"


def sheet_page(folder: Path) -> Path:
    """The contact sheet of a film with two drawn faces."""
    (folder / "talks").mkdir()
    faces = [
        DrawnFace(x=40, talks=((0.0, 2.0),), seen=(0.0, 4.0)),
        DrawnFace(x=120, talks=((2.0, 4.0),), seen=(0.0, 4.0)),
    ]
    write_talking_film(folder / "talks", "one", faces, [Cue(0.0, 2.0, "hello"), Cue(2.0, 4.0, "[music]")], 4.0)
    flags = ["--faces", "tracker", "--voice", "energy", "--tracker", str(folder / "talks" / "tracks")]
    output = ["--output", str(folder / "frames"), "--preview", str(folder / "sheet.html")]
    assert extract(["film", str(folder / "talks"), *output, *flags]) == 0
    return folder / "sheet.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, address: str) -> list[str]:
    """The pages of answers, of a film, of a report and of the server."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("pages")
    assert report([str(write_grid(folder / "runs")), "--out", str(folder / "report")]) == 0
    return [
        answers_page(folder, MEmoBERT.from_pretrained(preview=True)).as_uri(),
        sheet_page(folder).as_uri(),
        (folder / "report" / "index.html").as_uri(),
        address,
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_a_phone_and_axe_finds_nothing(browser: Browser, pages: list[str], scheme: Any, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    for place in pages:
        shown = context.new_page()
        shown.goto(place)
        shown.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, place
        if width == 390:
            fits = "[...document.querySelectorAll('.scroll')].every((box) => box.scrollWidth <= box.clientWidth + 1)"
            assert shown.evaluate(fits), place
        assert violations(shown) == [], place
    context.close()
