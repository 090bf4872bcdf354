"""The page as a Starlette application: a fixed set of files, the run as JSON, and a stream of what is new.

It writes one thing, its owner's word on a peer, for who has the key that stands in the address at the terminal alone.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from html import escape
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from node.storage.store_file import StoreError
from node.web.errors import QueryError
from node.web.gate import REQUEST_SECONDS, Gate, refusal
from node.web.watched import Watched
from policies.error_words import brief
from swarm.visible_text import visible

log = logging.getLogger(__name__)

PAGE: Final = Path(__file__).parent / "page"
SCREENS: Final = ("/", "/learning", "/swarm", "/rollouts")  # all one page, which reads its own address
SCRIPT, STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
FILES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        **dict.fromkeys(SCREENS, ("index.html", "text/html; charset=utf-8")),
        **{f"/{name}.js": (f"{name}.js", SCRIPT) for name in (
            "main", "elements", "charts", "address", "learning", "uplift", "round", "swarm", "peer", "owner",
            "rollouts", "pager",
        )},
        "/page.css": ("page.css", STYLE),
        "/icon.svg": ("icon.svg", "image/svg+xml"),
        "/vendor/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", SCRIPT),
        "/vendor/uPlot.min.css": ("vendor/uPlot.min.css", STYLE),
        "/vendor/uPlot.LICENSE": ("vendor/uPlot.LICENSE", "text/plain; charset=utf-8"),
    }
)  # fmt: skip
LOOK_SECONDS: Final = 1.0  # between two looks for one open page; what a look costs is bounded by Watched
BEAT_SECONDS: Final = 15.0  # without news, so that a page knows of a server that is gone
MAX_STREAMS: Final = 32  # open pages

KEY_HEADER: Final = "x-murmur-key"  # a header that no page elsewhere can send without asking first
MAX_SAID: Final = 512  # bytes of a word on a peer
MAX_TOLD: Final = 200  # characters of an address that leads nowhere

Answer = dict[str, Any]
Said = TypeVar("Said", str, bytes)


def build_app(run: Watched, address: str, key: str, ended: Callable[[], bool]) -> Gate:
    """The files are read once, so no request names a file. Streams end soon after `ended` says so."""
    files = {path: ((PAGE / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}

    async def file(request: Request) -> Response:
        path = request.url.path
        if request.url.query and path not in SCREENS:
            return refusal(HTTPStatus.NOT_FOUND)
        content, kind = files[path]
        return Response(content, media_type=kind)

    async def data(request: Request) -> Response:
        return refusal(HTTPStatus.NOT_FOUND) if request.url.query else await _json(lambda _: run.look(), "")

    def of_query(look: Callable[[str], Answer]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await _json(look, request.url.query)

        return answer

    async def image(request: Request) -> Response:
        try:
            found = await run_in_threadpool(run.image, request.url.query)
        except (QueryError, StoreError):
            found = None
        return refusal(HTTPStatus.NOT_FOUND) if found is None else Response(found, media_type="image/png")

    async def trust(request: Request) -> Response:
        if not hmac.compare_digest(
            request.headers.get(KEY_HEADER, "").encode("latin-1"), key.encode("ascii")
        ):
            return refusal(HTTPStatus.FORBIDDEN, "open the page by the address that murmur dashboard printed")
        said = await _body_of(request)
        return said if isinstance(said, Response) else await _json(run.say, said)

    async def failed(request: Request, error: Exception) -> Response:
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

    routes = [
        *(Route(path, file) for path in files),
        Route("/data.json", data),
        Route("/events", _Stream(run, ended).answer),
        Route("/rollouts.json", of_query(run.rollouts)),
        Route("/round.json", of_query(run.round)),
        Route("/peer.json", of_query(run.peer)),
        Route("/rollout.png", image),
        Route("/trust", trust, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _answer_for_nothing(), 500: failed})
    app.router.redirect_slashes = False
    return Gate(app, address)


def _answer_for_nothing() -> Callable[[Request, Exception], Any]:
    """A page for who reads HTML, with the way back, and one plain line for programs."""
    page = (PAGE / "absent.html").read_text(encoding="utf-8")

    async def absent(request: Request, error: Exception) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return refusal(HTTPStatus.NOT_FOUND)
        asked = escape(visible(request.url.path, MAX_TOLD, lines=False))
        return HTMLResponse(page.replace("{asked}", asked), HTTPStatus.NOT_FOUND)

    return absent


async def _body_of(request: Request) -> bytes | Response:
    """A word on a peer, or the refusal of one that is too long, or too long in coming."""
    said = b""
    with anyio.move_on_after(REQUEST_SECONDS) as patience:
        async for part in request.stream():
            said += part
            if len(said) > MAX_SAID:
                return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return refusal(HTTPStatus.REQUEST_TIMEOUT) if patience.cancelled_caught else said


class _Stream:
    """Server-sent events: `run` with the page's data whenever it changed, `trouble` where it cannot be read."""

    def __init__(self, run: Watched, ended: Callable[[], bool]) -> None:
        self._run, self._ended, self._open = run, ended, 0

    async def answer(self, request: Request) -> Response:
        if self._open >= MAX_STREAMS:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_STREAMS} pages are open")
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        self._open += 1
        sent, quiet = "", 0.0
        try:
            while not self._ended():
                name, answer, known = await self._news()
                if known != sent:
                    sent, quiet = known, 0.0
                    yield f"event: {name}\ndata: {json.dumps(answer, allow_nan=False)}\n\n"
                elif quiet >= BEAT_SECONDS:
                    quiet = 0.0
                    yield "event: beat\ndata: {}\n\n"
                await anyio.sleep(LOOK_SECONDS)
                quiet += LOOK_SECONDS
        finally:
            self._open -= 1

    async def _news(self) -> tuple[str, Answer, str]:
        """The event, its data, and what tells it from another: all but the age of the newest event."""
        try:
            seen = await run_in_threadpool(self._run.look_again)
        except Exception as error:  # the web handler: a damaged store is told on the page, which lives on
            log.debug("no data for the page", exc_info=True)
            trouble = {"error": f"{type(error).__name__}: {brief(error)}"}
            return "trouble", trouble, trouble["error"]
        ageless = {name: part | {"quiet_seconds": 0} if name in ("node", "baseline") and part else part
                   for name, part in seen.items()}  # fmt: skip
        return "run", seen, json.dumps(ageless)


async def _json(look: Callable[[Said], Answer], query: Said) -> Response:
    status = HTTPStatus.OK
    try:
        body = json.dumps(await run_in_threadpool(look, query), allow_nan=False)
    except QueryError as error:
        status, body = HTTPStatus.BAD_REQUEST, json.dumps({"error": str(error)})
    except Exception as error:  # the web handler: a damaged store is told on the page, which lives on
        log.debug("no data for the page", exc_info=True)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        body = json.dumps({"error": f"{type(error).__name__}: {brief(error)}"})
    return Response(body, status, media_type="application/json")
