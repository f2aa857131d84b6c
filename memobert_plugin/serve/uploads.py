"""Read a request's body into a question, within the server's limits."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ..core.errors import UserError
from ..features.media.container import FILM_SUFFIXES
from ..features.media.sound import SOUND_SUFFIXES
from ..inference.utterance import modality_letters
from .answering import Question
from .desk import Limits

# Whoever sends a malformed form is told; what it holds does not belong in the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

LONGEST_TEXT = 2000
_LONGEST_NAME = 120
_LONGEST_FIELDS = 64 << 10
"""Bytes of everything but the clip."""
_FIELDS = ("text", "every", "modalities", "page")
_UNKNOWN = f"an unknown field, or one given twice; there are clip, {', '.join(_FIELDS)}"
_FORM, _URLENCODED, _JSON = "multipart/form-data", "application/x-www-form-urlencoded", "application/json"


class Refused(Exception):
    """A request that is not answered: its HTTP status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def read_question(request: Request, folder: Path, limits: Limits) -> Question:
    """Read a request's fields, and its clip into ``folder``.

    Raises:
        Refused: 400, 408, 411, 413, 415 or 422.
    """
    length = request.headers.get("content-length")
    if length is not None and int(length) > limits.bytes:
        raise _too_large(limits)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    body = _body(request, limits)
    upload: tuple[Path, str] | None = None
    if kind == _FORM.encode():
        form = _Form(folder, options.get(b"boundary", b""))
        async for chunk in body:
            form.write(chunk)
        fields, upload = form.finish()
    elif kind in (_URLENCODED.encode(), _JSON.encode()):
        content = bytearray()
        async for chunk in body:
            content += chunk
            if len(content) > _LONGEST_FIELDS:
                raise Refused(413, f"fields take {_LONGEST_FIELDS} bytes at most; send a clip as {_FORM}")
        fields = _plain_fields(bytes(content), is_json=kind == _JSON.encode())
    else:
        raise Refused(415, f"send {_FORM}, {_URLENCODED} or {_JSON}")
    return _question(folder, fields, upload)


async def drain(request: Request, most_bytes: int, seconds: float = 30.0) -> bool:
    """Read and drop the rest of a body, so that the client sends all of it and then reads why it was refused.

    Returns:
        True if all of it was read; False if it was too long or too slow, and the connection has to end.
    """

    async def all_read() -> bool:
        count = 0
        async for chunk in request.stream():
            count += len(chunk)
            if count > most_bytes:
                return False
        return True

    try:
        return await asyncio.wait_for(all_read(), seconds)
    except (TimeoutError, asyncio.TimeoutError, ClientDisconnect):
        return False
    except RuntimeError:  # nothing is left
        return True


async def _body(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the body's chunks while they keep coming and are not too many."""
    count = 0
    stream = request.stream().__aiter__()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), limits.idle)
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            raise Refused(408, f"no data for {limits.idle:g} s") from None
        except ClientDisconnect:
            raise Refused(400, "the connection ended within the request") from None
        count += len(chunk)
        if count > limits.bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"this server takes {limits.bytes / (1 << 20):g} MB at most (--max-megabytes)")


class _Form:
    """The parts of a multipart form: one file, named ``clip``, and short fields."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self._folder = folder
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._name, self._size, self._ended = "", 0, False
        self._file: BinaryIO | None = None
        self._content = bytearray()
        self._fields: dict[str, str] = {}
        self._upload: tuple[Path, str] | None = None
        callbacks: Any = {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise Refused(400, "not a multipart form") from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            self._close()
            raise Refused(400, "not a multipart form") from None
        except Refused:
            self._close()
            raise

    def finish(self) -> tuple[dict[str, str], tuple[Path, str] | None]:
        """Return the fields, and the clip's private path with the name it was sent under."""
        self._close()
        if not self._ended:
            raise Refused(400, "the multipart form has no end")
        return self._fields, self._upload

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _finish(self) -> None:
        self._ended = True

    def _header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._content.clear()
        if b"filename" not in options:
            if self._name not in _FIELDS or self._name in self._fields:
                raise Refused(422, _UNKNOWN)
            return
        if self._name != "clip" or self._upload is not None:
            raise Refused(422, "send one file, in the field clip")
        name = shown_name(options[b"filename"].decode("utf-8", "replace"))
        path = self._folder / f"clip{suffix_of(name)}"
        self._upload = path, name
        self._file = open(path, "xb")  # noqa: SIM115, closed by _end and _close

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._size += end - start
        if self._size > _LONGEST_FIELDS:
            raise Refused(413, f"fields take {_LONGEST_FIELDS} bytes at most")
        self._content += data[start:end]

    def _end(self) -> None:
        if self._file is not None:
            self._close()
        else:
            self._fields[self._name] = self._content.decode("utf-8", "replace")


def _plain_fields(content: bytes, *, is_json: bool) -> dict[str, str]:
    if not is_json:
        pairs = parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=None)
        return dict(pairs)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise Refused(400, "not JSON") from None
    if not isinstance(found, dict):
        raise Refused(422, "send a JSON object")
    given = {name: value for name, value in found.items() if value is not None}
    if any(isinstance(value, (dict, list)) for value in given.values()):
        raise Refused(422, "each field: a text, a number or null")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def _question(folder: Path, fields: Mapping[str, str], upload: tuple[Path, str] | None) -> Question:
    if fields.keys() - set(_FIELDS):
        raise Refused(422, _UNKNOWN)
    text = " ".join(fields.get("text", "").split())
    if upload is None and not text:
        raise Refused(422, "send a clip or a text")
    if len(text) > LONGEST_TEXT:
        raise Refused(422, f"text: {LONGEST_TEXT} characters at most")
    every = _number(fields["every"]) if fields.get("every") else None
    if every is not None and (upload is None or text):
        raise Refused(422, "every: cuts a clip without text; leave one out")
    page = fields.get("page", "") in ("1", "true", "on")
    try:
        modalities = modality_letters(fields["modalities"]) if fields.get("modalities") else None
    except UserError:
        raise Refused(422, "modalities: one or more of l (text), v (faces), a (voice), as in lva") from None
    if upload is None:
        return Question(folder, text=text, modalities=modalities, page=page)
    return Question(folder, upload[1], upload[0], text, every, modalities, page)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.5 <= number <= 60.0:
        raise Refused(422, "every: give 0.5 to 60 seconds")
    return number


def shown_name(name: str) -> str:
    """Return a client's name for a file as one short line of printable characters."""
    base = re.split(r"[\\/]", name)[-1]
    printable = "".join(one for one in base if unicodedata.category(one)[0] != "C").strip()
    return printable[-_LONGEST_NAME:] or "clip"


def suffix_of(name: str) -> str:
    """Return a known suffix of a film or sound file.

    Raises:
        Refused: 415, another suffix.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in (*FILM_SUFFIXES, *SOUND_SUFFIXES):
        raise Refused(415, "no film or sound file by its name; send .mp4, .webm, .mkv, .mov, .wav, .mp3, .flac …")
    return suffix
