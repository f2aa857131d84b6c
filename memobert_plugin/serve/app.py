"""The application: the page, ``POST /predict``, and jobs that are followed while they are worked on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..core.names import CLASSES
from ..core.version import VERSION
from ..features.media.container import FILM_SUFFIXES
from ..features.media.sound import SOUND_SUFFIXES
from ..pages.drawings import emotion_colors
from ..pages.template import STYLE, load_template
from .answering import PAGE
from .desk import DONE, Busy, Desk, Job
from .guard import Guard
from .uploads import Refused, drain, read_question

_HERE = Path(__file__).parent
PAGE_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""Of the page of answers, which brings its styles and pictures and runs no script."""


def build_app(desk: Desk, *, local: bool = True, names: Iterable[str] = ()) -> Starlette:
    """Build the application.

    Args:
        desk: answers; it is started with the application and closed with it.
        local: True if the server listens on this machine alone.
        names: further names by which the host is known.
    """
    api = Api(desk)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await desk.start()
        try:
            yield
        finally:
            await desk.close()

    routes = [
        Route("/", api.index),
        Route("/style.css", lambda _: FileResponse(STYLE, media_type="text/css")),
        Route("/serve.js", lambda _: FileResponse(_HERE / "serve.js", media_type="text/javascript")),
        Route("/openapi.json", api.openapi),
        Route("/health", api.health),
        Route("/predict", api.predict, methods=["POST"]),
        Route("/jobs", api.submit, methods=["POST"]),
        Route("/jobs/{key}", api.job, methods=["GET", "DELETE"]),
        Route("/jobs/{key}/page.html", api.page),
        Route("/jobs/{key}/answers.jsonl", api.lines),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, local=local, names=tuple(names))],
        exception_handlers={Refused: _refused, HTTPException: _http_error, Busy: _busy},
        lifespan=lifespan,
    )


class Api:
    """The endpoints."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def index(self, _: Request) -> Response:
        """Return the page."""
        facts = self._desk.facts
        html = load_template(_HERE / "serve.html").render(
            facts={name: value for name, value in facts.items() if name not in ("emotions", "predicts")},
            kind=facts.get("predicts", CLASSES),
            colors=emotion_colors(facts["emotions"]),
            accepted=",".join([*FILM_SUFFIXES, *SOUND_SUFFIXES]),
            most_bytes=self._desk.limits.bytes,
            most_seconds=self._desk.max_seconds,
            version=VERSION,
        )
        return HTMLResponse(html)

    async def health(self, _: Request) -> Response:
        """Tell that the server answers, and with which model."""
        return JSONResponse({"status": "ok", "version": VERSION, "model": self._desk.facts})

    async def openapi(self, _: Request) -> Response:
        """Return the description of this interface."""
        described = json.loads((_HERE / "openapi.json").read_text(encoding="utf-8"))
        described["info"]["version"] = VERSION
        return JSONResponse(described)

    async def predict(self, request: Request) -> Response:
        """Answer when everything is done."""
        job = await self._queued(request)
        while not job.ended.is_set():
            try:
                await asyncio.wait_for(job.ended.wait(), 0.5)
            except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
                if await request.is_disconnected():
                    self._desk.drop(job)
                    return Response(status_code=499)
        if job.status != 200:
            self._desk.drop(job)
            raise Refused(job.status, job.error)
        content: dict[str, Any] = {"answers": job.lines}
        if job.question.page:
            content["page"] = f"/jobs/{job.key}/page.html"
        else:
            self._desk.drop(job)
        return JSONResponse(content)

    async def submit(self, request: Request) -> Response:
        """Queue a question and return its address at once."""
        job = await self._queued(request)
        address = f"/jobs/{job.key}"
        return JSONResponse({"job": address}, status_code=202, headers={"location": address})

    async def job(self, request: Request) -> Response:
        """Tell how far a job is, with its answers from ``since`` on; or stop and forget it."""
        job = self._found(request)
        if request.method == "DELETE":
            self._desk.drop(job)
            return Response(status_code=204)
        try:
            since = max(0, int(request.query_params.get("since", "0")))
        except ValueError:
            raise Refused(422, "since: give a number") from None
        state = {"state": job.state, "name": job.question.name, "before": self._desk.position(job)}
        state |= {"done": len(job.lines), "total": job.total, "answers": job.lines[since:]}
        if job.state == DONE:
            state["json"] = f"/jobs/{job.key}/answers.jsonl"
            state["page"] = f"/jobs/{job.key}/page.html" if job.question.page else None
        return JSONResponse({**state, "status": job.status, "error": job.error} if job.ended.is_set() else state)

    async def page(self, request: Request) -> Response:
        """Return the page of a job that asked for one."""
        job = self._found(request)
        path = job.question.folder / PAGE
        if job.state != DONE or not path.is_file():
            raise Refused(404, "no such page")
        headers = {"content-security-policy": PAGE_POLICY}
        if "download" in request.query_params:
            headers["content-disposition"] = 'attachment; filename="page.html"'
        return FileResponse(path, media_type="text/html", headers=headers)

    async def lines(self, request: Request) -> Response:
        """Return a job's answers, as ``memobert-predict --output`` writes them."""
        job = self._found(request)
        if job.state != DONE:
            raise Refused(404, "no such answers")
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in job.lines)
        headers = {"content-disposition": 'attachment; filename="answers.jsonl"'}
        return PlainTextResponse(content, media_type="application/x-ndjson", headers=headers)

    async def _queued(self, request: Request) -> Job:
        try:
            async with self._desk.place() as folder:
                return self._desk.submit(await read_question(request, folder, self._desk.limits))
        except (Busy, Refused):
            request.state.whole = await drain(request, 2 * self._desk.limits.bytes)
            raise

    def _found(self, request: Request) -> Job:
        job = self._desk.find(request.path_params["key"])
        if job is None:
            raise Refused(404, "no such job; it may have been removed")
        return job


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.reason}, status_code=error.status, headers=_ending(request))


def _ending(request: Request) -> dict[str, str]:
    """Return the header that ends a connection on which the rest of a body would still come."""
    return {} if getattr(request.state, "whole", True) else {"connection": "close"}


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _busy(request: Request, error: Exception) -> Response:
    said = "the queue is full; try again later (--queue)"
    return JSONResponse({"error": said}, status_code=503, headers={"retry-after": "2", **_ending(request)})
