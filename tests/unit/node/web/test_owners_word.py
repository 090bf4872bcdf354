"""The one thing that the page writes, its owner's word on a peer: for the page itself, and who was given its key."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kept_rollouts import PEER as REFUSED
from kept_rollouts import make_run

from node.storage.trust_lists import TrustFile
from node.web.app import MAX_SAID
from node.web.server import DashboardServer
from swarm.wire.identity import Identity

PEER = Identity(bytes(32)).peer_id
DENY = {"peer": PEER, "word": "deny"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DashboardServer]:
    with closing(DashboardServer(make_run(tmp_path / "run-1"), 0)) as serving:
        yield serving


def say(
    server: DashboardServer, said: object = DENY, path: str = "/trust", **headers: str | None
) -> tuple[int, bytes]:
    """What a browser on the page sends, but for `headers`; None leaves one out."""
    sent = {
        "host": f"127.0.0.1:{server.port}",
        "origin": f"http://127.0.0.1:{server.port}",
        "content_type": "application/json",
        "x_murmur_key": server.key,
    } | headers
    named = {name.replace("_", "-"): value for name, value in sent.items() if value is not None}
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read()


def words(path: Path) -> dict[str, str]:
    return dict(TrustFile(path / "run-1" / "trust.json").words())


def test_a_word_is_kept_and_shown(server: DashboardServer, tmp_path: Path) -> None:
    status, body = say(server)
    assert (status, json.loads(body)) == (200, {"words": {PEER: "deny"}}) and words(tmp_path) == {
        PEER: "deny"
    }
    assert server.run.look_again()["words"] == {PEER: "deny"} == server.run.peer(f"peer={PEER}")["words"]
    assert say(server, DENY | {"word": "record"})[0] == 200 and words(tmp_path) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_murmur_key": None}, 403),
        ({"x_murmur_key": "guess"}, 403),
        ({"origin": None}, 403),  # no browser's page
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),  # another page of this machine
        ({"content_type": None}, 403),
        ({"content_type": "text/plain"}, 403),  # what a form elsewhere can send
        ({"host": "evil.example", "origin": "http://evil.example"}, 421),  # a name made to point here
    ],
)
def test_nobody_else_can_say_one(
    server: DashboardServer, tmp_path: Path, headers: dict[str, str | None], status: int
) -> None:
    assert say(server, **headers)[0] == status and words(tmp_path) == {}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"\xff", 400),
        ({"peer": PEER}, 400),
        ({"peer": "<script>", "word": "deny"}, 400),
        ({"peer": PEER, "word": "<script>"}, 400),
        (b"a" * (MAX_SAID + 1), 413),
    ],
)
def test_what_is_no_word_is_refused_in_ours(
    server: DashboardServer, tmp_path: Path, said: object, status: int
) -> None:
    told = say(server, said)
    assert told[0] == status and b"<script>" not in told[1] and words(tmp_path) == {}


def test_what_was_wrong_last_is_told_of_each_peer(server: DashboardServer) -> None:
    assert server.run.look()["refusals"] == {REFUSED: "announced 700 s ago"}


def test_no_answer_has_the_key(server: DashboardServer) -> None:
    for path in ("/", "/owner.js", "/data.json", f"/peer.json?peer={PEER}"):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            connection.request("GET", path)
            assert server.key.encode() not in connection.getresponse().read()
    assert say(server, path="/data.json")[0] == 405
