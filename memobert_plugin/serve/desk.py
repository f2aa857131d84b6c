"""Queue questions, hand them to the processes that answer, and keep the answers for a while."""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..core.console import note
from ..core.errors import UserError
from .answering import Message, Question, Settings, answer_questions

Target = Callable[[Settings, Connection], None]
WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
_POLL = 0.2
_LOADING = 600.0
"""Seconds within which a model must be loaded."""


class Busy(Exception):
    """No place is free in the queue."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        bytes: of one request.
        seconds: of work until the next answer.
        idle: seconds without a byte of an upload.
        queue: questions that wait or are being uploaded.
        kept: answers that are kept for their page and their JSON.
        keep_seconds: how long they are kept.
    """

    bytes: int = 200 << 20
    seconds: float = 120.0
    idle: float = 30.0
    queue: int = 16
    kept: int = 64
    keep_seconds: float = 900.0


@dataclass
class Job:
    """A question and what became of it; ``status`` is the HTTP status of its end."""

    key: str
    question: Question
    state: str = WAITING
    total: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    error: str = ""
    stopped: bool = False
    ended_at: float | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, status: int, error: str = "") -> None:
        """Note the end, and remove the upload: only the page stays."""
        if self.question.clip is not None:
            self.question.clip.unlink(missing_ok=True)
        self.state, self.status, self.error = DONE if status == 200 else FAILED, status, error
        self.ended_at = time.monotonic()
        self.ended.set()


class Answerer:
    """A process that answers one question after the other; it is replaced when it hangs or dies."""

    def __init__(self, settings: Settings, target: Target = answer_questions) -> None:
        self._settings, self._target = settings, target
        self._process: Any = None
        self._connection: Connection | None = None
        self.facts: dict[str, Any] = {}

    async def start(self) -> None:
        """Start the process and wait for its model.

        Raises:
            UserError: the model cannot be loaded.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=self._target, args=(self._settings, theirs), daemon=True)
        self._process.start()
        theirs.close()
        deadline = time.monotonic() + _LOADING
        while (message := await self._next()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise UserError(f"the model was not loaded within {_LOADING:.0f} s")
        kind, content = message
        if kind != "ready":
            raise UserError(content or "the process that answers ended while it loaded the model; see above")
        self.facts = content

    async def work(self, job: Job, seconds: float) -> None:
        """Answer a job's question; it ends in any case."""
        assert self._connection is not None
        deadline, stopping = time.monotonic() + seconds, False
        self._connection.send(job.question)
        while True:
            message = await self._next()
            if job.stopped and not stopping:
                stopping = True
                deadline = min(deadline, time.monotonic() + 5.0)
                self._connection.send("stop")
            if message is None:
                if time.monotonic() > deadline:
                    reason = "stopped on request" if stopping else f"no answer within {seconds:g} s (--timeout)"
                    job.end(422 if stopping else 504, reason)
                    await self.restart()
                    return
                continue
            kind, content = message
            if kind == "total":
                job.total = content
            elif kind == "line":
                job.lines.append(content)
                if not stopping:  # a long film may take its time, as long as answers come
                    deadline = time.monotonic() + seconds
            else:
                status, reason = {
                    "done": (200, ""),
                    "refused": (422, content),
                    "failed": (500, "the server failed to answer; its log says why"),
                    "died": (422, "the file cannot be read"),
                }[kind]
                job.end(status, reason)
                if kind == "died":
                    await self.restart()
                return

    async def restart(self) -> None:
        """Replace the process."""
        self.kill()
        await self.start()

    def kill(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        if self._connection is not None:
            self._connection.close()

    async def _next(self) -> Message | None:
        return await asyncio.to_thread(self._receive)

    def _receive(self) -> Message | None:
        assert self._connection is not None
        try:
            if self._connection.poll(_POLL):
                message: Message = self._connection.recv()
                return message
        except (EOFError, OSError):
            return "died", ""
        return None


class Desk:
    """The queue, the processes and the private folder of one server.

    Args:
        settings: of the processes.
        limits: of the server.
        workers: number of processes.
        target: runs in the processes; tests give others.
    """

    def __init__(self, settings: Settings, limits: Limits, workers: int = 1, target: Target = answer_questions) -> None:
        self.limits = limits
        self.max_seconds = settings.max_seconds
        self._answerers = [Answerer(settings, target) for _ in range(workers)]
        self._submitted = asyncio.Semaphore(0)
        self._jobs: dict[str, Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._taken = 0
        self._folder: Path | None = None

    async def start(self) -> None:
        """Make the private folder and load the model; a second call does nothing.

        Raises:
            UserError: the model cannot be loaded.
        """
        if self._folder is not None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="memobert-serve-"))
        try:
            await asyncio.gather(*(one.start() for one in self._answerers))
        except UserError:
            await self.close()
            raise
        self._tasks = [asyncio.create_task(self._serve(one)) for one in self._answerers]
        self._tasks.append(asyncio.create_task(self._tidy()))

    async def close(self) -> None:
        """End the processes and remove the private folder."""
        for task in self._tasks:
            task.cancel()
        for one in self._answerers:
            one.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the model is."""
        return self._answerers[0].facts

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Path]:
        """Reserve a place in the queue and a private folder for one upload; the folder stays with a submitted job.

        Raises:
            Busy: none is free.
        """
        if self._taken + len(self._waiting()) >= self.limits.queue:
            raise Busy
        assert self._folder is not None
        self._taken += 1
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            self._taken -= 1
            if not any(job.question.folder == folder for job in self._jobs.values()):
                shutil.rmtree(folder, ignore_errors=True)

    def submit(self, question: Question) -> Job:
        """Queue a question, within its :meth:`place`."""
        job = Job(secrets.token_urlsafe(16), question)
        self._jobs[job.key] = job
        self._submitted.release()
        return job

    def find(self, key: str) -> Job | None:
        """Return a job, as long as it is kept."""
        return self._jobs.get(key)

    def position(self, job: Job) -> int:
        """Return the number of jobs that are answered before this one."""
        waiting = self._waiting()
        return waiting.index(job) if job in waiting else 0

    def _waiting(self) -> list[Job]:
        """Return the jobs that nobody works on yet, the oldest first."""
        return [one for one in self._jobs.values() if one.state == WAITING]

    def drop(self, job: Job) -> None:
        """Stop a job, and forget it with its files."""
        job.stopped = True
        if job.state == WAITING:
            job.end(422, "stopped on request")
        if job.state != WORKING:
            self._jobs.pop(job.key, None)
            shutil.rmtree(job.question.folder, ignore_errors=True)

    async def _serve(self, answerer: Answerer) -> None:
        is_ready = True
        while True:
            await self._submitted.acquire()
            job = next(iter(self._waiting()), None)
            if job is None:  # it was withdrawn
                continue
            job.state = WORKING
            try:
                if not is_ready:
                    await answerer.restart()
                is_ready = False
                await answerer.work(job, self.limits.seconds)
                is_ready = True
            except (OSError, UserError) as error:  # the process could not be written to or replaced
                note(str(error))
                if not job.ended.is_set():
                    job.end(500, "the server failed to answer; its log says why")
            if job.stopped:
                self.drop(job)
            self._forget_oldest()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self.limits.keep_seconds))
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        ended = sorted(
            (job for job in self._jobs.values() if job.ended_at is not None), key=lambda one: one.ended_at or 0
        )
        now = time.monotonic()
        too_many = len(ended) - self.limits.kept
        for index, job in enumerate(ended):
            if index < too_many or now - (job.ended_at or 0) > self.limits.keep_seconds:
                self.drop(job)
