"""Lines to the page's server on which nobody says anything whole are closed, and make room for others."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import kept_rollouts
import pytest

from node.web import app, gate
from node.web.server import MAX_REQUESTS, DashboardServer

HALVES = {
    "nothing": "",
    "half a head": "GET /data.json HTTP/1.1\r\nHost: loc",
    "half a second request": "GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\nGET /data",
    "half a body": "POST /trust HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "Content-Type: application/json\r\nX-Murmur-Key: {key}\r\nContent-Length: 100\r\n\r\n{{",
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DashboardServer]:
    for module in (gate, app):
        monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    with closing(DashboardServer(kept_rollouts.make_run(tmp_path / "run-1"), 0)) as serving:
        yield serving


@pytest.mark.parametrize("half", HALVES)
def test_a_line_without_a_whole_request_is_closed(server: DashboardServer, half: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(HALVES[half].format(port=server.port, key=server.key).encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))  # up to its end
    started = {"half a second request": b"HTTP/1.1 200 ", "half a body": b"HTTP/1.1 408 "}
    assert answer.startswith(started.get(half, b"")) and (half in started or not answer)


def test_silent_lines_make_room_for_a_reader(server: DashboardServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(MAX_REQUESTS)]
    for line in silent:
        with closing(line):
            assert line.recv(1) == b""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as reader:
        reader.request("GET", "/data.json")
        assert reader.getresponse().status == 200


def test_a_line_that_is_answered_stays(server: DashboardServer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as reader:
        reader.request("GET", "/events")
        stream = reader.getresponse()
        assert stream.readline() == b"event: run\n"
        reader.sock.settimeout(1.5)  # three times as long as a silent line lasts
        stream.readline(), stream.readline()
        with pytest.raises(TimeoutError):
            stream.readline()
