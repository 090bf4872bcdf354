"""Serves `/metrics` and `/health` of a run: GET alone, a few requests at a time, never in the loop's thread.

It is not the page's uvicorn, which waits for ever for a request that drips: this may stand where others reach it.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from node.report.loopback import is_loopback, names_loopback

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 5.0  # for a part of a request to arrive in
AT_ONCE = 8  # requests; more are hung up on, so that no flood of them takes the run's processor

Page = tuple[HTTPStatus, str, bytes]  # status, content type, body
JSON = "application/json"


class ReportServer(ThreadingMixIn, TCPServer):
    """Listens from its making on; `pages` make the answer of a path anew for every request."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, host: str, port: int, pages: dict[str, Callable[[], Page]]) -> None:
        """`port` 0 takes a free one. Raises OSError where the address is not to be had."""
        self.pages = pages
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), ReportHandler)
        self.loopback = is_loopback(str(self.server_address[0]))
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away mid-answer is no news for the terminal."""
        logger.debug("request of %s failed", client_address, exc_info=True)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class ReportHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: ReportServer
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        if self.server.loopback and not names_loopback(self.headers.get_all("Host", [])):
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        try:
            answer = page()
        except Exception:  # the web handler: what fails here fails for this reader alone
            logger.exception("%s cannot be made", self.path.partition("?")[0])
            return self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._answer(*answer)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One plain line, in which nothing of the request comes back. The parent's own refusals end here too."""
        status = HTTPStatus(code)
        paths = ", ".join(self.server.pages)
        hint = f"; there is {paths}" if status is HTTPStatus.NOT_FOUND else ""
        self._answer(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}{hint}\n".encode())

    def version_string(self) -> str:
        return "murmur"

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)


def json_page(status: HTTPStatus, facts: dict[str, Any]) -> Page:
    return status, JSON, json.dumps(facts).encode() + b"\n"
