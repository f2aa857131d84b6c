"""The server answers as the command does, and refuses what others send, what is too large and what takes too long."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("silero_vad")

from starlette.testclient import TestClient

from memobert_plugin import MEmoBERT
from memobert_plugin.cli.predict import main as predict
from memobert_plugin.cli.serve import main as serve
from memobert_plugin.core.errors import DefectiveClip, UserError
from memobert_plugin.serve import answering
from memobert_plugin.serve.answering import Question, Settings, messages
from memobert_plugin.serve.app import build_app
from memobert_plugin.serve.desk import Answerer, Desk, Limits
from memobert_plugin.serve.guard import CONTENT_POLICY
from tests.films import tone, write_film
from tests.serve.answerers import CLIP, EMOTIONS, OWN, SLOW, STEPS, error_of, pretend


def test_the_page_runs_no_inline_script_and_names_the_emotions(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200 and all(f"</svg>{name}" in response.text for name in EMOTIONS)
    assert response.headers["content-security-policy"] == CONTENT_POLICY
    assert "unsafe" not in CONTENT_POLICY and "default-src 'none'" in CONTENT_POLICY
    assert "style=" not in response.text and "<style" not in response.text and " onclick" not in response.text
    assert response.text.count("<script") == 1 and '<script src="serve.js" defer></script>' in response.text
    for name, kind in (("style.css", "text/css"), ("serve.js", "text/javascript")):
        found = client.get(f"/{name}")
        assert found.headers["content-type"].startswith(kind) and found.headers["x-content-type-options"] == "nosniff"
    assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8000"},
        {"host": "localhost.evil.example"},
        {"host": "10.0.0.7:8000"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_of_other_names_and_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    error_of(client.post("/predict", data={"text": "hello"}, headers=headers), 403)


@pytest.mark.parametrize("host", ["", "a b", "127.0.0.1:8000:9", "user@127.0.0.1", "127.0.0.1/x", "[::1"])
def test_a_malformed_host_is_refused(client: TestClient, host: str) -> None:
    error_of(client.get("/health", headers={"host": host}), 400)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "LOCALHOST", "[::1]:8000", "127.0.0.2", "localhost:9999"])
def test_requests_to_this_machine_are_answered(client: TestClient, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert client.post("/predict", data={"text": "hello"}, headers=headers).status_code == 200


def test_a_server_for_others_answers_to_addresses_and_to_names_that_were_allowed(room: Path) -> None:
    app = build_app(Desk(Settings(), Limits(), target=pretend), local=False, names=["films.example"])
    with TestClient(app, base_url=OWN) as client:
        asked = {
            host: client.get("/health", headers={"host": host}).status_code for host in ("10.0.0.7", "Films.example")
        }
        assert asked == {"10.0.0.7": 200, "Films.example": 200}
        error_of(client.get("/health", headers={"host": "other.example"}), 403)


def test_a_clip_is_read_from_a_private_folder_that_is_empty_afterwards(client: TestClient, room: Path) -> None:
    [private] = room.iterdir()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    answer = client.post("/predict", files=CLIP, data={"text": " so  it is "}).json()["answers"]
    assert answer == [
        {"id": "clip.wav", "text": "so it is", "start": None, "end": None, "label": "anger", "bytes": 400}
    ]
    assert not list(private.iterdir())


def test_nothing_stays_when_the_server_ends(room: Path) -> None:
    with TestClient(build_app(Desk(Settings(), Limits(), target=pretend)), base_url=OWN) as client:
        client.post("/predict", files=CLIP, data={"page": "1"})
        assert list(room.iterdir())
    assert not list(room.iterdir())


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/jobs/../../etc/passwd", 404)]
)
def test_other_addresses_are_refused(client: TestClient, method: str, path: str, status: int) -> None:
    error_of(client.request(method, path), status)
    error_of(client.get("/jobs/unknown"), 404)
    error_of(client.get("/jobs/unknown/page.html"), 404)
    error_of(client.delete("/jobs/unknown"), 404)


def test_work_that_takes_too_long_ends_and_the_next_question_is_answered(client: TestClient) -> None:
    assert "(--timeout)" in error_of(client.post("/predict", data={"text": "hang"}), 504)
    assert client.post("/predict", data={"text": "hello"}).status_code == 200


def test_a_long_film_may_take_longer_as_long_as_answers_come(room: Path) -> None:
    limits = Limits(seconds=3.0)
    with TestClient(build_app(Desk(Settings(), limits, target=pretend)), base_url=OWN) as client:
        began = time.monotonic()
        assert len(client.post("/predict", data={"text": "slow"}).json()["answers"]) == STEPS
        assert time.monotonic() - began > limits.seconds


def test_a_file_that_ends_its_reader_ends_no_more(client: TestClient) -> None:
    assert error_of(client.post("/predict", data={"text": "die"}), 422) == "the file cannot be read"
    assert client.post("/predict", data={"text": "hello"}).status_code == 200


def test_a_fault_of_the_server_shows_no_traceback(client: TestClient) -> None:
    assert "its log says why" in error_of(client.post("/predict", data={"text": "fail"}), 500)
    assert error_of(client.post("/predict", data={"text": "refuse"}), 422) == "a reason"


def test_an_unexpected_error_shows_no_traceback(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memobert_plugin.serve.app.emotion_colors", lambda _: 1 / 0)
    quiet = TestClient(client.app, base_url=OWN, raise_server_exceptions=False)
    assert "its log says why" in error_of(quiet.get("/"), 500)


def test_a_full_queue_is_refused_until_there_is_room(client: TestClient) -> None:
    jobs = [client.post("/jobs", data={"text": "steps"}) for _ in range(4)]
    assert [job.status_code for job in jobs] == [202] * 4
    refused = client.post("/jobs", data={"text": "steps"})
    assert "(--queue)" in error_of(refused, 503) and refused.headers["retry-after"] == "2"
    last = jobs[-1].json()["job"]
    assert client.get(last).json()["before"] > 0
    assert client.delete(last).status_code == 204
    error_of(client.get(last), 404)
    followed(client, jobs[0].json()["job"])
    assert client.post("/predict", data={"text": "hello"}).status_code == 200


def test_questions_that_were_withdrawn_make_room(client: TestClient) -> None:
    working = client.post("/jobs", data={"text": "slow"}).json()["job"]
    while client.get(working).json()["state"] == "waiting":
        time.sleep(0.02)
    for _ in range(2):
        waiting = [client.post("/jobs", data={"text": "hello"}) for _ in range(3)]
        assert [job.status_code for job in waiting] == [202] * 3
        for job in waiting:
            assert client.delete(job.json()["job"]).status_code == 204
    last = client.post("/jobs", data={"text": "hello"}).json()["job"]
    client.delete(working)
    assert followed(client, last)["state"] == "done"


def test_a_process_that_could_not_be_replaced_is_replaced_for_the_next_question(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, tries = Answerer.start, 0

    async def failing(self: Answerer) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UserError("no memory is left")
        await start(self)

    monkeypatch.setattr(Answerer, "start", failing)
    assert error_of(client.post("/predict", data={"text": "die"}), 422) == "the file cannot be read"
    assert "its log says why" in error_of(client.post("/predict", data={"text": "hello"}), 500)
    assert client.post("/predict", data={"text": "hello"}).status_code == 200


def followed(client: TestClient, job: str) -> dict[str, Any]:
    """Return a job's last state."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        state: dict[str, Any] = client.get(job).json()
        if state["state"] in ("done", "failed"):
            return state
        time.sleep(0.05)
    raise AssertionError("no end")


def test_a_job_is_followed_and_hands_out_its_page_and_its_lines(client: TestClient, room: Path) -> None:
    posted = client.post("/jobs", data={"text": "slow", "page": "1"})
    job = posted.headers["location"]
    seen = 0
    while seen == 0:
        seen = len(client.get(job).json()["answers"])
    assert seen < STEPS, "answers come while the work goes on"
    state = followed(client, job)
    assert (state["state"], state["done"], state["total"], state["status"]) == ("done", STEPS, STEPS, 200)
    assert [line["start"] for line in client.get(job, params={"since": 3}).json()["answers"]] == [3.0, 4.0]
    error_of(client.get(job, params={"since": "x"}), 422)
    lines = client.get(state["json"])
    assert [json.loads(line)["end"] for line in lines.text.splitlines()] == [1.0, 2.0, 3.0, 4.0, 5.0]
    page = client.get(state["page"])
    assert page.headers["content-type"].startswith("text/html") and "sandbox" in page.headers["content-security-policy"]
    assert "attachment" in client.get(state["page"], params={"download": ""}).headers["content-disposition"]
    assert client.delete(job).status_code == 204
    [private] = room.iterdir()
    assert not list(private.iterdir())


def test_a_job_that_is_stopped_makes_room_at_once(client: TestClient) -> None:
    job = client.post("/jobs", data={"text": "slow"}).json()["job"]
    while client.get(job).json()["state"] == "waiting":
        time.sleep(0.02)
    started = time.monotonic()
    assert client.delete(job).status_code == 204
    assert client.post("/predict", data={"text": "hello"}).status_code == 200
    assert time.monotonic() - started < SLOW * (STEPS - 1)
    error_of(client.get(job), 404)


def test_answers_are_kept_for_a_while_only(room: Path) -> None:
    limits = Limits(kept=2, keep_seconds=3.0)
    with TestClient(build_app(Desk(Settings(), limits, target=pretend)), base_url=OWN) as client:
        jobs = [client.post("/jobs", data={"text": "hello"}).json()["job"] for _ in range(3)]
        followed(client, jobs[-1])
        error_of(client.get(jobs[0]), 404)
        until = time.monotonic() + 20
        while client.get(jobs[-1]).status_code == 200 and time.monotonic() < until:
            time.sleep(0.1)
        error_of(client.get(jobs[-1]), 404)


def test_the_description_names_every_address_and_field(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    app: Any = client.app
    routes = {route.path for route in app.routes}
    assert set(described["paths"]) == routes - {"/", "/style.css", "/serve.js", "/openapi.json"}
    known = set(described["components"]["schemas"]["Answer"]["properties"])
    answer = MEmoBERT.from_pretrained().predict(text="stop it").to_dict()
    assert set(answer) | {"error", "labels", "dimensions"} == known
    state = followed(client, client.post("/jobs", data={"text": "hello", "page": "1"}).json()["job"])
    assert set(state) == set(described["components"]["schemas"]["Job"]["properties"])


@pytest.fixture(scope="module")
def model() -> MEmoBERT:
    return MEmoBERT.from_pretrained()


def test_a_long_clip_is_refused_and_errors_name_no_path(model: MEmoBERT, tmp_path: Path) -> None:
    film = write_film(tmp_path / "clip.mp4", seconds=2.0, samples=tone(2.0))
    question = Question(tmp_path, "my film.mp4", film, every=1.0)
    with pytest.raises(UserError, match=r"my film\.mp4: lasts 2 s; the limit is 1\.5 s \(--max-seconds\)"):
        list(messages(model, question, Settings(max_seconds=1.5)))
    told = [content["id"] for kind, content in messages(model, question, Settings()) if kind == "line"]
    assert told == ["my film.mp4 0:00:00.00", "my film.mp4 0:00:01.00"]
    film.write_bytes(b"no film at all" * 100)
    with pytest.raises(DefectiveClip) as defect:
        list(messages(model, Question(tmp_path, "my film.mp4", film), Settings()))
    from memobert_plugin.serve.answering import without_paths

    assert str(tmp_path) not in without_paths(str(defect.value), question)


def test_answers_equal_those_of_the_command(tmp_path: Path, room: Path) -> None:
    film = write_film(tmp_path / "film.mp4", seconds=3.0, samples=tone(3.0))
    assert predict([str(film), "--output", str(tmp_path / "out.jsonl")]) == 0
    expected = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    desk = Desk(Settings(), Limits())
    with TestClient(build_app(desk), base_url=OWN) as client:
        sent = {"clip": ("film.mp4", film.read_bytes())}
        expected["file"] = "film.mp4"
        del expected["model"]
        assert client.post("/predict", files=sent).json() == {"answers": [expected]}
        shown = client.post("/predict", files={"clip": ("<b>.mp4", film.read_bytes())}, data={"page": "1"}).json()
        page = client.get(shown["page"]).text
        assert "&lt;b&gt;.mp4" in page and "<b>.mp4" not in page and str(room) not in page
        broken = client.post("/predict", files={"clip": ("film.mp4", b"no film")})
        assert "film.mp4" in error_of(broken, 422)


def test_a_clip_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()

    def too_much(*_: Any) -> Iterator[tuple[str, Any]]:
        raise MemoryError
        yield "done", ""

    monkeypatch.setattr(answering, "messages", too_much)
    answering._answer(None, Question(tmp_path), Settings(), theirs)  # type: ignore[arg-type]
    assert ours.recv() == ("refused", "too large to be decoded")


def test_the_next_question_is_not_taken_for_a_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    following = Question(tmp_path, "next")

    def steps(*_: Any) -> Iterator[tuple[str, Any]]:
        yield "line", {}
        ours.send(following)  # as the parent does once it has read "done"
        yield "done", ""

    monkeypatch.setattr(answering, "messages", steps)
    answering._answer(None, Question(tmp_path), Settings(), theirs)  # type: ignore[arg-type]
    assert [ours.recv(), ours.recv()] == [("line", {}), ("done", "")]
    assert theirs.poll() and theirs.recv() == following and not ours.poll()


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path, room: Path) -> None:
    desk = Desk(Settings({"path": tmp_path / "none"}), Limits())
    with pytest.raises(UserError, match="no such bundle or checkpoint"):
        asyncio.run(desk.start())
    assert not list(room.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "70000"], "--port 70000: give 0 to 65535"),
        (["--queue", "0"], "--queue 0: give 1 to"),
        (["--timeout", "nan"], "--timeout nan: give 0.1 to"),
        (["--host", "192.0.2.1"], r"--host 192.0.2.1 --port 8000: cannot listen"),
    ],
)
def test_wrong_flags_are_named(flags: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        serve(flags)


def test_the_command_names_the_extra_where_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"uvicorn is not installed; pip install \"\.\[serve\]\""):
        serve([])


@pytest.mark.slow
def test_the_command_serves_and_ends_cleanly(tmp_path: Path) -> None:
    import signal

    import httpx

    script = "from memobert_plugin.cli.serve import cli_main\nif __name__ == '__main__':\n    cli_main()\n"
    (tmp_path / "run.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "run.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            address = process.stdout.readline().split()[1]
            answer = httpx.post(f"{address}/predict", data={"text": "stop it"}, timeout=30)
            assert answer.status_code == 200 and "server" not in answer.headers
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
