"""The gate before the page: this machine's own browsers are answered, with headers that bound what a page can do.

A line on which no whole request comes is closed: whoever opens lines and says nothing would hold them for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.report.loopback import names_loopback

REQUEST_SECONDS: Final = 10.0  # for a whole request line with its headers, and as long for a body
POSTS: Final = frozenset({"/trust"})  # paths that take a POST of the page itself
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
)


class Gate:
    """Stands before the application. What it refuses has had one plain line, with nothing of the request in it."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app, self._address = app, address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or has the application answer it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not names_loopback(hosts):
            await refusal(HTTPStatus.MISDIRECTED_REQUEST, f"open {self._address}")(
                scope, receive, send_guarded
            )
        elif scope["method"] == "POST" and scope["path"] in POSTS:
            if from_the_page(scope["headers"], hosts[0]):
                await self._app(scope, receive, send_guarded)
            else:
                await refusal(HTTPStatus.FORBIDDEN)(scope, receive, send_guarded)
        elif scope["method"] != "GET":
            await refusal(HTTPStatus.METHOD_NOT_ALLOWED)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def from_the_page(headers: Iterable[tuple[bytes, bytes]], host: str) -> bool:
    """Whether a browser says that a page of this very server asks, and with JSON, which no form can send."""
    found = [
        (name, value.decode("latin-1")) for name, value in headers if name in (b"origin", b"content-type")
    ]
    return sorted(found) == [(b"content-type", "application/json"), (b"origin", f"http://{host}")]


def refusal(status: HTTPStatus, hint: str = "") -> PlainTextResponse:
    """One line, of our own words alone."""
    words = f"{status.value} {status.phrase}" + (f": {hint}" if hint else "")
    return PlainTextResponse(f"{words}\n", status)


class ImpatientLine(H11Protocol):
    """One line, closed `REQUEST_SECONDS` after it was opened or last answered, unless a request came meanwhile."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._begin()

    def on_response_complete(self) -> None:
        self._begin()
        super().on_response_complete()  # which may take up a request that waits

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._end()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._close_if_idle)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
