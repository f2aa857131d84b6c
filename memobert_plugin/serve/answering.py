"""Answer questions in a process of its own, which a hostile or endless file can be killed with.

The process sends one message per step: ``("ready", facts)``, ``("total", count)``, ``("line", answer)``, and in the end
``("done", "")``, ``("refused", reason)`` or ``("failed", "")``.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.collector import own_process, starting_up
from ..core.errors import DefectiveClip, UserError

if TYPE_CHECKING:
    from ..inference.predictor import MEmoBERT
    from ..inference.requests import Request

PAGE = "page.html"
MOST_MEMORY = 8 << 30
"""Bytes of address space, for hostile pictures; the shipped model takes 1.4 GB with its libraries."""
Message = tuple[str, Any]


@dataclass(frozen=True)
class Question:
    """One question of a client.

    Attributes:
        folder: private, of this question alone; the page is written there.
        name: shown for the clip; never a part of a path.
        clip: the uploaded file; None for text alone.
        text: the words that are said.
        every: seconds of the stretches into which the clip is cut; None: one answer.
        modalities: letters of those that may be read; None: as trained.
        page: also write the page, with reasons.
    """

    folder: Path
    name: str = "text"
    clip: Path | None = None
    text: str = ""
    every: float | None = None
    modalities: str | None = None
    page: bool = False


@dataclass(frozen=True)
class Settings:
    """The model and the longest clip.

    Attributes:
        model: arguments of :meth:`MEmoBERT.from_pretrained`.
        max_seconds: a longer clip is refused.
    """

    model: dict[str, Any] = field(default_factory=dict)
    max_seconds: float = 600.0


def answer_questions(settings: Settings, connection: Connection) -> None:
    """Load the model and answer questions until the connection ends; the target of the process."""
    own_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    from ..core.onednn import limit_primitive_cache

    limit_primitive_cache()
    if sys.platform == "linux" and not str(settings.model.get("device", "cpu")).startswith("cuda"):
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = MOST_MEMORY if most == resource.RLIM_INFINITY else min(most, MOST_MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        with starting_up():
            from ..checkpoints.model_description import facts
            from ..inference.predictor import MEmoBERT

            model = MEmoBERT.from_pretrained(**settings.model)
    except UserError as error:
        connection.send(("refused", str(error)))
        return
    own = {"emotions": model.labels, "predicts": model.description.target_kind}
    connection.send(("ready", {**facts(model.description), **own}))
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        if isinstance(question, Question):  # a "stop" that came too late is passed over
            _answer(model, question, settings, connection)


def _answer(model: MEmoBERT, question: Question, settings: Settings, connection: Connection) -> None:
    try:
        for message in messages(model, question, settings):
            connection.send(message)
            # After "done" the next question may be there, which is no stop.
            if message[0] == "line" and connection.poll():
                connection.recv()
                connection.send(("refused", "stopped on request"))
                return
    except (DefectiveClip, UserError) as error:
        connection.send(("refused", without_paths(str(error), question)))
    except MemoryError:
        connection.send(("refused", "too large to be decoded"))
    except Exception:
        traceback.print_exc()
        connection.send(("failed", ""))


def messages(model: MEmoBERT, question: Question, settings: Settings) -> Iterator[Message]:
    """Answer a question step by step.

    Raises:
        DefectiveClip, UserError: the clip cannot be read, or is too long.
    """
    from ..inference.page import Page
    from ..inference.requests import run

    request = _request(question, settings)
    yield "total", len(request.utterances)
    shown = model.with_preview() if question.page else model
    page = Page(model.description, request.timeline, model.weights_license, title=question.name, linked=False)
    reasons = []
    for outcome in run(
        shown, request.utterances, modalities=question.modalities, batch_size=1, explained=question.page
    ):
        if outcome.error:
            outcome = replace(outcome, error=without_paths(outcome.error, question))
            reasons.append(outcome.error)
        if question.page:
            page.add(outcome)
        yield "line", cleaned(outcome.to_dict(), question)
    if len(reasons) == len(request.utterances):
        raise DefectiveClip(reasons[0] if reasons else "nothing to read")
    if question.page:
        page.write(question.folder / PAGE)
    yield "done", ""


def _request(question: Question, settings: Settings) -> Request:
    """Make the utterances as ``memobert-predict`` does, under the name that the client gave."""
    from ..features.media.container import FILM_SUFFIXES, media_facts
    from ..features.media.sound import sound_seconds
    from ..inference.requests import Request, of_clips, of_windows
    from ..inference.utterance import Utterance

    clip = question.clip
    if clip is None:
        return Request([Utterance(text=question.text, name=question.name)], [])
    lasts = media_facts(clip).duration if clip.suffix.lower() in FILM_SUFFIXES else sound_seconds(clip)
    if lasts is not None and lasts > settings.max_seconds:
        raise UserError(
            f"{question.name}: lasts {lasts:.0f} s; the limit is {settings.max_seconds:g} s (--max-seconds)"
        )
    request = of_clips([clip], question.text) if question.every is None else of_windows(clip, question.every)
    renamed = [
        replace(one, name=one.title.replace(clip.name, question.name, 1) if one.name else question.name)
        for one in request.utterances
    ]
    return Request(renamed, request.remarks, request.timeline)


def cleaned(value: Any, question: Question) -> Any:
    """Return an answer's plain values with no private path in any text."""
    if isinstance(value, str):
        return without_paths(value, question)
    if isinstance(value, dict):
        return {name: cleaned(each, question) for name, each in value.items()}
    return [cleaned(each, question) for each in value] if isinstance(value, list) else value


def without_paths(text: str, question: Question) -> str:
    """Return a text in which the client's name for the clip stands for its private path."""
    if question.clip is not None:
        text = text.replace(str(question.clip), question.name)
    return text.replace(str(question.folder), "")
