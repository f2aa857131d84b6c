"""Refuse requests that other sites or other names send, and set the headers of every response.

A page on another site can let a browser send requests to 127.0.0.1, and after DNS rebinding read the answers. Such
requests carry the other site's name in ``Host`` or ``Origin``.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "cache-control": "no-store",
}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")


class Guard:
    """An ASGI middleware around the whole application.

    Args:
        app: the application.
        local: True if the server listens on this machine alone; other addresses are then no valid host either.
        names: further names of the host.
    """

    def __init__(self, app: ASGIApp, local: bool, names: Iterable[str] = ()) -> None:
        self._app, self._local = app, local
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or answer it with the security headers and without a traceback."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _respond(guarded, *refusal)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if not started:
                await _respond(guarded, 500, "the server failed to answer; its log says why")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        origins = [value for name, value in headers if name == "origin"]
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            return 400, "send one Host header"
        if not self._is_own(found[1]):
            return 403, "this server does not answer to that Host (--allow-host)"
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return 403, "requests of other sites are refused"
        site = next((value for name, value in headers if name == "sec-fetch-site"), "none")
        if site not in ("same-origin", "none") and scope["method"] not in ("GET", "HEAD"):
            return 403, "requests of other sites are refused"
        return None

    def _is_own(self, host: str) -> bool:
        """Return True for a known name, and for addresses: rebinding needs a name."""
        name = host.strip("[]").lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._local


async def _respond(send: Any, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
