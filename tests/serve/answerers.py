"""A process that answers without a model, as the tests of the server need it: slow, dying, failing, or at once."""

from __future__ import annotations

import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from memobert_plugin.serve.answering import PAGE, Question, Settings

OWN = "http://127.0.0.1:8000"
CLIP = {"clip": ("clip.wav", b"RIFF" * 100)}
EMOTIONS = ["anger", "happiness"]
STEPS = 5
SLOW = 0.7
"""Seconds of each step of the answer to ``slow``."""


def pretend(settings: Settings, connection: Connection) -> None:
    """Answer by the question's text: ``hang``, ``die``, ``fail``, ``refuse``, ``steps``, ``slow``; else at once."""
    connection.send(("ready", {"architecture": "none", "emotions": EMOTIONS}))
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        if isinstance(question, Question):
            _answer(question, connection)


def _answer(question: Question, connection: Connection) -> None:
    if question.text == "hang":
        time.sleep(60)
    if question.text == "die":
        os._exit(9)
    if question.text in ("fail", "refuse"):
        connection.send({"fail": ("failed", ""), "refuse": ("refused", "a reason")}[question.text])
        return
    count = STEPS if question.text in ("steps", "slow") else 1
    connection.send(("total", count))
    for index in range(count):
        clip = question.clip
        line = {
            "id": question.name,
            "text": question.text,
            "start": float(index) if count > 1 else None,
            "end": index + 1.0 if count > 1 else None,
            "label": "anger",
            "bytes": clip.stat().st_size if isinstance(clip, Path) else 0,
        }
        connection.send(("line", line))
        if count > 1:
            time.sleep(0.15 if question.text == "steps" else SLOW)
        if index + 1 < count and connection.poll():
            connection.recv()
            connection.send(("refused", "stopped on request"))
            return
    if question.page:
        (question.folder / PAGE).write_text("<!DOCTYPE html><title>page</title>", encoding="utf-8")
    connection.send(("done", ""))


def error_of(response: Any, status: int) -> str:
    """Return the reason of a refusal, which shows no traceback and no path."""
    assert response.status_code == status, response.text
    said = response.json()["error"]
    assert isinstance(said, str) and "Traceback" not in response.text and tempfile.gettempdir() not in response.text
    return said
