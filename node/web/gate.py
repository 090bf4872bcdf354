"""The gate before the page: this machine's own browsers and GET alone are answered, with headers that bound it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A page elsewhere whose name is made to point here still sends its own name (DNS rebinding). The port is left
# open, for a tunnel from another machine may end at another one.
HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
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
        if not from_here(hosts):
            await refusal(HTTPStatus.MISDIRECTED_REQUEST, f"open {self._address}")(
                scope, receive, send_guarded
            )
        elif scope["method"] != "GET":
            await refusal(HTTPStatus.METHOD_NOT_ALLOWED)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def from_here(hosts: Sequence[str]) -> bool:
    """Whether a request's Host headers are one, and name this machine's loopback."""
    return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in HOSTS


def refusal(status: HTTPStatus, hint: str = "") -> PlainTextResponse:
    """One line, of our own words alone."""
    words = f"{status.value} {status.phrase}" + (f": {hint}" if hint else "")
    return PlainTextResponse(f"{words}\n", status)
