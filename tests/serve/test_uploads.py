"""What a request may hold: its size, its fields, its file and its name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from starlette.requests import Request
from starlette.testclient import TestClient

from memobert_plugin.serve.desk import Limits
from memobert_plugin.serve.uploads import LONGEST_TEXT, Refused, drain, read_question, shown_name
from tests.serve.answerers import CLIP, error_of


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("C:\\Users\\me\\a.wav", "a.wav"),
        ("<img src=x onerror=alert(1)>.wav", "<img src=x onerror=alert(1)>.wav"),
        ("a\x00\r\nSet-Cookie: b\u202e.wav", "aSet-Cookie: b.wav"),
        ("x" * 500 + ".wav", "x" * 116 + ".wav"),
    ],
)
def test_a_name_is_text_and_never_a_path(client: TestClient, room: Path, name: str, shown: str) -> None:
    assert shown_name(name) == shown
    form = (
        '--b\r\nContent-Disposition: form-data; name="clip"; filename="{}"\r\n\r\nRIFF\r\n--b--\r\n'.format(
            name.replace("\\", "\\\\").replace("\r\n", "")
        )
    ).encode()
    response = client.post("/predict", content=form, headers={"content-type": "multipart/form-data; boundary=b"})
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    assert response.json()["answers"][0]["id"] == shown
    assert "set-cookie" not in response.headers and len(list(room.iterdir())) == 1


def test_a_body_that_is_too_large_is_refused_also_where_it_does_not_say_so(client: TestClient, room: Path) -> None:
    large = {"clip": ("clip.wav", b"0" * 200_000)}
    assert "(--max-megabytes)" in error_of(client.post("/predict", files=large), 413)

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\n\r\n'
        for _ in range(30):
            yield b"0" * 10_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    error_of(client.post("/predict", content=chunks(), headers=headers), 413)
    error_of(client.post("/predict", files=CLIP, data={"text": "a" * 70_000}), 413)
    error_of(client.post("/predict", data={"text": "a" * 70_000}), 413)
    [private] = room.iterdir()
    assert not list(private.iterdir())


@pytest.mark.parametrize(
    ("fields", "files", "status", "said"),
    [
        ({}, {}, 415, "send multipart/form-data"),
        ({"text": "  "}, {}, 422, "send a clip or a text"),
        ({"text": "a" * (LONGEST_TEXT + 1)}, {}, 422, "2000 characters"),
        ({"text": "a", "shell": "ls"}, {}, 422, "an unknown field"),
        ({"text": "a", "shell": "ls"}, CLIP, 422, "an unknown field"),
        ({"text": "a", "every": "2"}, CLIP, 422, "every: cuts a clip without text"),
        ({"every": "2", "text": "a"}, {}, 422, "every: cuts a clip"),
        ({"every": "0.1"}, CLIP, 422, "0.5 to 60"),
        ({"every": "nan"}, CLIP, 422, "0.5 to 60"),
        ({"every": "1e999"}, CLIP, 422, "0.5 to 60"),
        ({"modalities": "xyz"}, CLIP, 422, "modalities: one or more"),
        ({}, {"clip": ("clip.exe", b"MZ")}, 415, "no film or sound file"),
        ({}, {"clip": ("wav", b"RIFF")}, 415, "no film or sound file"),
        ({}, {"other": ("clip.wav", b"RIFF")}, 422, "one file, in the field clip"),
        ({}, [("clip", ("a.wav", b"R")), ("clip", ("b.wav", b"R"))], 422, "one file"),
    ],
)
def test_wrong_questions_are_refused_in_one_line(
    client: TestClient, fields: dict[str, str], files: Any, status: int, said: str
) -> None:
    assert said in error_of(client.post("/predict", data=fields, files=files), status)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"--b\r\nno header", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nContent-Disposition: form-data; name=text\r\n\r\nhello", "multipart/form-data; boundary=b", 400),
        (b"GET /x", "multipart/form-data; boundary=b", 400),
        (b"hello", "multipart/form-data", 400),
        (b"hello", "multipart/form-data; boundary=" + "b" * 5000, 400),
        (b"--b\r\n" + b"a: b\r\n" * 5000, "multipart/form-data; boundary=b", 400),
        (b"{", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"text": null}', "application/json", 422),
        (b'{"text": ["hello"]}', "application/json", 422),
        (b"\xff\xfe", "application/json", 400),
        (b"GIF89a", "image/gif", 415),
        (b"", "text/html", 415),
    ],
)
def test_malformed_bodies_are_refused_and_nothing_is_logged(
    client: TestClient, content: bytes, kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    error_of(client.post("/predict", content=content, headers={"content-type": kind}), status)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert client.post("/predict", data={"text": "hello"}).status_code == 200


def test_null_leaves_a_field_out(client: TestClient) -> None:
    sent = {"text": "hello", "every": None, "modalities": None, "page": None}
    assert client.post("/predict", json=sent).json()["answers"][0]["text"] == "hello"


def test_the_rest_of_a_refused_body_is_read_unless_it_has_no_end(tmp_path: Path) -> None:
    def request_of(chunks: Iterator[bytes]) -> Request:
        async def receive() -> dict[str, Any]:
            chunk = next(chunks, None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        return Request({"type": "http", "method": "POST", "headers": []}, receive)

    rest = iter([b"0" * 100] * 5)
    assert asyncio.run(drain(request_of(rest), 1000)) and next(rest, None) is None
    endless = iter(lambda: b"0" * 100, b"")
    assert not asyncio.run(drain(request_of(endless), 1000))


def test_an_upload_that_stalls_is_ended(tmp_path: Path) -> None:
    async def stalls() -> dict[str, Any]:
        await asyncio.sleep(30)
        return {}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, stalls)
    with pytest.raises(Refused, match="no data for") as refused:
        asyncio.run(read_question(request, tmp_path, Limits(idle=0.1)))
    assert refused.value.status == 408
