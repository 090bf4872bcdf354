"""Serves the page on one run to this machine's own browsers: loopback alone, GET alone, a fixed set of files."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from types import MappingProxyType
from typing import Any, Final

from node.storage.run_folder import RunFolder, baseline_of, demo_pairs, find_run
from node.storage.store_file import StoreError
from node.ui.invocation import murmur
from node.ui.run_view import new_console
from node.web.dashboard_data import Source, plain, project
from node.web.kept import KeptHistory
from node.web.rollouts import QueryError, image_file, look_up

log = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
# A page elsewhere whose name is made to point here still sends its own name (DNS rebinding). The port is left
# open, for a tunnel from another machine may end at another one.
HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
DATA: Final = "/data.json"
ROLLOUTS: Final = "/rollouts.json"
ROLLOUT_IMAGE: Final = "/rollout.png"
PAGE: Final = Path(__file__).parent / "page"
FILES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
        "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
        "/elements.js": ("elements.js", "text/javascript; charset=utf-8"),
        "/rollouts.js": ("rollouts.js", "text/javascript; charset=utf-8"),
        "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
        "/icon.svg": ("icon.svg", "image/svg+xml"),
    }
)
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
REQUEST_SECONDS: Final = 10.0  # for a request to arrive in


class DashboardError(OSError):
    """The page cannot be served here; the message says what to do."""


def serve_dashboard(path: Path | None, port: int, *, as_json: bool) -> None:
    """Serves the page on a run (the newest one by default) until SIGINT or SIGTERM; says its address first.

    Raises RunFolderError without such a run, ConfigError for a config that this version does not know, and
    DashboardError for a port that is not to be had.
    """
    folder = find_run(path)
    folder.read_config()
    with closing(DashboardServer(folder, port)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        console = new_console()
        if as_json:
            ready = {"event": "ready", "url": server.url, "run": str(folder.path)}
            console.out(json.dumps(ready), highlight=False)
        else:
            console.out(f"{folder.path}: {server.url}  (Ctrl-C ends it)", highlight=False)
        stop.wait()
        server.shutdown()


class Watched:
    """A run that is looked at time and again, from several threads."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._histories: dict[RunFolder, KeptHistory] = {}
        self._lock = threading.Lock()

    def look(self) -> dict[str, Any]:
        """What the page shows of the run right now, ready for JSON. Raises ConfigError, sqlite3.Error."""
        name = self._folder.path.absolute().name
        with self._lock:
            baseline = baseline_of(self._folder)
            node, control = self._source(self._folder), self._source(baseline) if baseline else None
            demo = [(self._source(one), self._source(other)) for one, other in demo_pairs(self._folder)]
            return plain(project(name, node, control, time.time(), demo))

    def rollouts(self, query: str) -> dict[str, Any]:
        """What the page's filters find, ready for JSON. Raises QueryError, StoreError."""
        return look_up(self._folder.events, query)

    def image(self, query: str) -> bytes | None:
        """A rollout's image as a PNG file. Raises QueryError, StoreError."""
        return image_file(self._folder.events, query)

    def _source(self, run: RunFolder) -> Source:
        """A resumed run may have more rounds to play, so its config is read each time."""
        history = self._histories.setdefault(run, KeptHistory(run.events))
        resumption = murmur("run", "--resume", "--run-dir", run.path)
        return Source(run.read_config(), history, resumption, run.in_use())


class DashboardServer(ThreadingMixIn, TCPServer):
    """Listens on loopback from its making on. The page's files are read once, so no request names a file."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: RunFolder, port: int) -> None:
        """`port` 0 takes a free one. Raises DashboardError."""
        self.run = Watched(folder)
        self.files = {path: ((PAGE / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
        try:
            super().__init__((ADDRESS, port), PageHandler)
        except OSError as error:
            raise DashboardError(
                f"port {port} of {ADDRESS} is not to be had ({error.strerror}): choose another --port, or leave it out"
            ) from error

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def close(self) -> None:
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away mid-answer is no news for the terminal."""
        log.debug("request of %s failed", client_address, exc_info=True)


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: DashboardServer
    timeout = REQUEST_SECONDS

    def parse_request(self) -> bool:
        """Whether the request may be answered at all; it has had its refusal otherwise."""
        if not super().parse_request():
            return False
        if not from_here(self.headers.get_all("Host", [])):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"open {self.server.url}")
            return False
        if self.command != "GET":
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
            return False
        return True

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if self.path == DATA:
            self._answer_json(self.server.run.look)
        elif path == ROLLOUTS:
            self._answer_json(lambda: self.server.run.rollouts(query))
        elif path == ROLLOUT_IMAGE:
            self._answer_image(query)
        elif file := self.server.files.get(
            "/" if path == "/" else self.path
        ):  # the page reads its query itself
            self._answer(HTTPStatus.OK, *file)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer_image(self, query: str) -> None:
        try:
            image = self.server.run.image(query)
        except (QueryError, StoreError):
            image = None
        if image is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        self._answer(HTTPStatus.OK, image, "image/png")

    def _answer_json(self, look: Callable[[], dict[str, Any]]) -> None:
        try:
            body = json.dumps(look(), allow_nan=False).encode()
        except QueryError as error:
            body = json.dumps({"error": str(error)}).encode()
            return self._answer(HTTPStatus.BAD_REQUEST, body, "application/json")
        except Exception as error:  # the web handler: a damaged store is told on the page, which lives on
            log.debug("no data for the page", exc_info=True)
            body = json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, body, "application/json")
        self._answer(HTTPStatus.OK, body, "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One plain line, in which nothing of the request comes back. The parent's own refusals end here too."""
        status = HTTPStatus(code)
        hint = f": {message}" if status is HTTPStatus.MISDIRECTED_REQUEST else ""
        self._answer(status, f"{status.value} {status.phrase}{hint}\n".encode(), "text/plain; charset=utf-8")

    def version_string(self) -> str:
        return "murmur"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def from_here(hosts: list[str]) -> bool:
    """Whether a request's Host headers are one, and name this machine's loopback."""
    return len(hosts) == 1 and hosts[0].partition(":")[0].lower() in HOSTS
