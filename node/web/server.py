"""Serves the page on one run from this machine's loopback, by uvicorn in a thread, until it is told to end."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
from contextlib import closing
from typing import Final

import uvicorn

from node.storage.run_folder import RunFolder
from node.ui.interrupts import StopRequest
from node.ui.invocation import murmur
from node.ui.run_view import new_console
from node.ui.terminal.window import say_lines
from node.web.app import build_app
from node.web.errors import DashboardError
from node.web.gate import ImpatientLine
from node.web.watched import Watched

ADDRESS: Final = "127.0.0.1"
MAX_REQUESTS: Final = 128  # at once; further ones are told to come back
LAST_SECONDS: Final = 3  # that answers under way have at the end


def serve_dashboard(folder: RunFolder, port: int, *, as_json: bool) -> None:
    """Serves the page on a run until SIGINT or SIGTERM; says its address first.

    Raises ConfigError for a config that this version does not know, and DashboardError for a port that is not to be
    had.
    """
    folder.read_config()
    with closing(DashboardServer(folder, port)) as server:
        stop = StopRequest()
        if as_json:
            ready = {"event": "ready", "url": server.url, "key": server.key, "run": str(folder.path)}
            new_console().out(json.dumps(ready), highlight=False)
        else:
            say_lines(f"{folder.path}: {server.url}#{server.key}  (Ctrl-C ends it)")
        stop.wait()
    stop.tell(f"the run is as it was, the page comes back with: {murmur('dashboard', folder.path)}")


class DashboardServer:
    """Listens on loopback and answers from its making on, until `close`."""

    def __init__(self, folder: RunFolder, port: int) -> None:
        """`port` 0 takes a free one. Raises DashboardError."""
        self.run = Watched(folder)
        # It stands behind the # of the address, which browsers send nowhere by themselves.
        self.key = secrets.token_urlsafe(12)
        self._socket = _listen(port)
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_app(self.run, self.url, self.key, lambda: self._server.should_exit),
                loop="asyncio",
                http=ImpatientLine,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_REQUESTS,
                timeout_graceful_shutdown=LAST_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"

    def close(self) -> None:
        """Idempotent; waits a moment for answers under way."""
        self._server.should_exit = True
        self._thread.join(2 * LAST_SECONDS)
        self._socket.close()


def _listen(port: int) -> socket.socket:
    """Raises DashboardError."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        number = error.errno or 0  # the error's own text nests another
        said = (
            "is taken: end what uses it"
            if number == errno.EADDRINUSE
            else f"is not to be had ({os.strerror(number)})"
        )
        raise DashboardError(
            f"port {port} of {ADDRESS} {said}, or choose another --port, or leave it out"
        ) from error
