"""The page's server over real HTTP on loopback: what it answers, and to whom it answers nothing."""

from __future__ import annotations

import http.client
import json
import re
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import kept_rollouts
import pytest
from sample_events import ROUND

from node.config.reading import load_config
from node.storage.events import EvaluationEvent, LifeEvent, PeerEvent, Store
from node.storage.run_folder import RunFolder, RunFolderError, find_run
from node.web.app import FILES, MAX_STREAMS, PAGE, SCREENS
from node.web.errors import DashboardError
from node.web.rollouts import SHOWN, SHOWN_CHARACTERS
from node.web.server import DashboardServer
from swarm.visible_text import UNSAFE_CATEGORIES

HOSTILE = "<script>document.title='owned'</script>"


def make_run(path: Path, *, rounds: int = 1) -> RunFolder:
    folder = RunFolder(path)
    folder.create(load_config("tiny", [f"rounds={rounds}"]))
    with closing(Store(folder.events)) as store:
        store.append(
            LifeEvent(0, "started", HOSTILE, {"peer": "me"}), ROUND, EvaluationEvent(0, 0.5, {HOSTILE: 0.5})
        )
        store.append(PeerEvent(1, HOSTILE, 3, 1, {HOSTILE: 2}))
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DashboardServer]:
    with closing(DashboardServer(make_run(tmp_path / "run-1"), 0)) as serving:
        yield serving


def ask(
    server: DashboardServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(connection):
        connection.putrequest(method, path, skip_host=host is not None)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()


def ask_raw(server: DashboardServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(request)
        with suppress(OSError):  # who was refused before the end finds the line closed
            line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b""))


def test_the_data_is_that_of_the_run_and_hostile_names_stay_data(server: DashboardServer) -> None:
    response, body = ask(server, "/data.json")
    data = json.loads(body)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert (data["name"], data["node"]["round"], data["baseline"]) == ("run-1", 1, None)
    assert data["peers"][0]["peer"] == HOSTILE and data["peers"][0]["refused"] == {HOSTILE: 2}


def test_a_baseline_that_begins_while_the_page_is_open_is_shown(
    server: DashboardServer, tmp_path: Path
) -> None:
    assert json.loads(ask(server, "/data.json")[1])["baseline"] is None
    make_run(tmp_path / "run-1" / "baseline", rounds=5)
    data = json.loads(ask(server, "/data.json")[1])
    assert (data["baseline"]["round"], data["baseline"]["rounds"]) == (1, 5)
    assert data["comparison"]["stage"] == "awaited"


def test_every_file_of_the_page_is_served_as_what_it_is(server: DashboardServer) -> None:
    for path, (name, kind) in FILES.items():
        response, body = ask(server, path)
        assert (response.status, response.headers["Content-Type"]) == (200, kind)
        assert body == (PAGE / name).read_bytes()


@pytest.mark.parametrize("path", ["/", "/data.json", "/nowhere"])
def test_every_answer_forbids_what_the_page_does_not_need(server: DashboardServer, path: str) -> None:
    headers = ask(server, path)[0].headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:80"])
def test_a_tunnel_from_another_port_may_look(server: DashboardServer, host: str) -> None:
    assert ask(server, "/data.json", host=host)[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "127.evil.example",
        "localhost.evil.example:80",
        "0.0.0.0",
        "",
        "192.168.0.1",
    ],
)
def test_a_page_under_another_name_gets_nothing(server: DashboardServer, host: str) -> None:
    response, body = ask(server, "/data.json", host=host)
    assert response.status == 421 and b"run-1" not in body and (not host or host.encode() not in body)


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: evil.example\r\n"])
def test_one_host_has_to_be_named(server: DashboardServer, hosts: bytes) -> None:
    answer = ask_raw(server, b"GET /data.json HTTP/1.1\r\n" + hosts + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"run-1" not in answer  # HTTP itself wants one
    old = ask_raw(server, b"GET /data.json HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 421 ") and b"run-1" not in old


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "MURMUR"])
def test_only_get_is_answered(server: DashboardServer, method: str) -> None:
    response, body = ask(server, "/data.json", method)
    assert response.status == 405 and b"run-1" not in body


@pytest.mark.parametrize(
    "path",
    ["/config.json", "/../config.json", "/page/../server.py", "/%2e%2e/config.json", "//etc/passwd", "/index.html",
     "/data.json?x", "/<script>"],
)  # fmt: skip
def test_a_request_never_names_a_file(server: DashboardServer, path: str) -> None:
    response, body = ask(server, path)
    assert (response.status, body) == (404, b"404 Not Found\n")


def test_a_reader_of_pages_gets_one_with_the_way_back(server: DashboardServer) -> None:
    asked = (
        b"GET /%3Cscript%3Ex%E2%80%AE/"
        + b"a" * 900
        + b" HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"
    )
    head, _, body = ask_raw(server, asked).partition(b"\r\n\r\n")
    page = body.decode()
    assert head.startswith(b"HTTP/1.1 404 ") and b"text/html" in head and b"default-src 'none'" in head
    assert r"<code>/&lt;script&gt;x\u202e/aaa" in page and "<script" not in page and len(page) < 3000
    assert '<a href="/learning">' in page and 'href="/page.css"' in page
    plain = ask_raw(server, asked.replace(b"text/html", b"*/*")).partition(b"\r\n\r\n")[2]
    assert plain == b"404 Not Found\n"


def test_what_is_no_http_gets_one_plain_line(server: DashboardServer) -> None:
    head, _, body = ask_raw(server, b"<b>nonsense</b> here\r\n\r\n").partition(b"\r\n\r\n")
    assert b"<b>" not in head + body
    with suppress(ConnectionError):  # what is far too long is not even read to its end
        long = ask_raw(server, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n")
        assert b"aaaa" not in long and b" 200 " not in long


def test_a_damaged_store_is_told_and_the_server_lives_on(server: DashboardServer, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run-1")
    whole = folder.events.read_bytes()
    folder.events.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    response, body = ask(server, "/data.json")
    assert response.status == 500 and "is damaged" in json.loads(body)["error"]
    folder.events.write_bytes(whole)
    assert ask(server, "/data.json")[0].status == 200


def other_address() -> str:
    """An address of this machine that is not the one that is listened on."""
    return "127.0.0.2"


def test_the_page_is_on_loopback_alone_and_a_taken_port_is_told(
    server: DashboardServer, tmp_path: Path
) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/"
    with pytest.raises(OSError):
        socket.create_connection((other_address(), server.port), timeout=5)
    with pytest.raises(DashboardError) as refused:
        DashboardServer(RunFolder(tmp_path / "run-1"), server.port)
    assert str(refused.value) == (
        f"port {server.port} of 127.0.0.1 is taken: end what uses it, or choose another --port, or leave it out"
    )


def test_a_folder_without_a_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match="no run under runs/"):
        find_run(None)
    with pytest.raises(RunFolderError, match="holds no run"):
        find_run(tmp_path)
    node = make_run(Path("runs/demo-1/swarm-1"))
    with pytest.raises(RunFolderError, match="holds a demo: name one of its nodes, runs/demo-1/swarm-1"):
        find_run(Path("runs/demo-1"))
    assert find_run(None) == node


def test_the_page_takes_nothing_from_elsewhere_and_writes_no_markup() -> None:
    for name in {name for name, _ in FILES.values() if not name.startswith("vendor/")}:
        text = (PAGE / name).read_text(encoding="utf-8")
        addresses = [
            address for address in re.findall(r"https?://[^\"' ]+", text) if "www.w3.org" not in address
        ]
        assert addresses == []
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", text
        )
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=|javascript:", text)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[DashboardServer]:
    with closing(DashboardServer(kept_rollouts.make_run(tmp_path / "hostile-1"), 0)) as serving:
        yield serving


def found(server: DashboardServer, query: str = "") -> dict[str, list[dict[str, object]]]:
    response, body = ask(server, f"/rollouts.json{query}")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json"), body
    return json.loads(body)  # type: ignore[no-any-return]


def test_rollouts_are_filtered_by_the_query_string(hostile: DashboardServer) -> None:
    def ids(query: str) -> list[object]:
        return [rollout["id"] for rollout in found(hostile, query)["rollouts"]]

    assert ids("") == list(range(13, 0, -1)) == ids("?kind=all&order=newest&round=&task=&peer=")
    assert ids("?round=1") == [4, 3, 2, 1] and ids("?kind=own&order=best&round=1") == [1, 4, 3, 2]
    assert ids("?round=2") == [13, *range(12, 4, -1)]  # own first
    assert ids("?task=digits") == [13] and ids("?kind=external&peer=lePeer1") == list(range(12, 4, -1))
    assert ids("?task=maximum&seed=3") == [*range(12, 4, -1), 2, 1] and ids("?id=2") == [2, 1]
    assert (
        ids("?id=999") == []
        and ids("?reward=right") == [1]
        and ids("?reward=wrong&kind=own") == [13, 4, 3, 2]
    )
    assert ids("?verdict=All%20wrong") == [4, 3] and ids("?verdict=trained&round=1") == [2, 1]
    assert ids("?peer=%E2%80%A6lePeer1&order=worst")[0] == 12 and ids("?peer=%27%20OR%201=1--") == []
    refused = found(hostile, "?kind=refused")
    assert refused["rollouts"] == [] and refused["refused"][0]["task"] == r"task\x1b[0m"
    assert (refused["fitting"], refused["why"], found(hostile, "?round=1")["fitting"]) == (1, "", 4)
    assert found(hostile, "?kind=external&round=5")["why"] == "Round 5 was not played: the newest is 2."
    assert found(hostile, "?kind=refused&peer=me")["why"] == "No group that was refused is from me."


def test_texts_of_peers_come_visible_and_bounded(hostile: DashboardServer, tmp_path: Path) -> None:
    for rollout in found(hostile, "?kind=external")["rollouts"]:
        for value in filter(lambda value: isinstance(value, str), rollout.values()):
            unsafe = {c for c in str(value) if unicodedata.category(c) in UNSAFE_CATEGORIES}
            assert unsafe <= {"\n"} and len(str(value)) <= SHOWN_CHARACTERS
    many = tuple(f"{place}{hidden * 50_000}" for place in range(3 * SHOWN) for hidden in "\u202e")
    with closing(DashboardServer(kept_rollouts.make_run(tmp_path / "long-1", many), 0)) as long:
        answer = long.run.rollouts("kind=external")
    assert len(answer["rollouts"]) == SHOWN and len(json.dumps(answer)) < 2.2 * SHOWN * SHOWN_CHARACTERS


@pytest.mark.parametrize(
    "query",
    ["?round=-1", "?round=1e3", "?round=99999999999999999999", "?kind=<script>", "?order=reward%3B--", "?limit=9",
     "?seed=x", "?id=-1", "?reward=1",
     "?page=0", "?page=x", "?page=9999999",
     "?task=%ff", "?round=1&round=2", "?=", "?" + "a" * 600, "?a&b&c&d&e&f&g&h&i&j"],
)  # fmt: skip
def test_other_queries_are_refused_in_words_that_are_ours(hostile: DashboardServer, query: str) -> None:
    response, body = ask(hostile, f"/rollouts.json{query}")
    assert (
        response.status == 400
        and json.loads(body)["error"]
        and b"<script>" not in body
        and b"aaaa" not in body
    )


def test_an_image_is_served_as_pixels_alone(hostile: DashboardServer) -> None:
    response, body = ask(hostile, "/rollout.png?id=13")
    assert (response.status, response.headers["Content-Type"]) == (200, "image/png")
    assert body.startswith(b"\x89PNG") and response.headers["X-Content-Type-Options"] == "nosniff"
    for path in (
        "/rollout.png?id=1",
        "/rollout.png?id=999",
        "/rollout.png",
        "/rollout.png?id=x",
        "/rollout.png/?id=13",
    ):
        assert ask(hostile, path)[0].status == 404


def test_the_page_opens_with_its_filters_and_a_run_of_before_has_no_rollouts(
    server: DashboardServer, hostile: DashboardServer
) -> None:
    for path in ("/?x=1", "/learning?round=1", "/swarm?peer=me", "/rollouts?kind=own&round=1"):
        assert ask(hostile, path)[1] == (PAGE / "index.html").read_bytes()
    assert found(server) == {"rollouts": [], "refused": [], "fitting": 0, "size": SHOWN, "holdings": {
        "kept": 0, "dropped": 0, "first_round": None, "thinned_to": None, "size": 0},
        "why": "No rollouts are kept here: the run is of before, or store.rollout_bytes is 0."}  # fmt: skip


def test_no_script_of_the_page_reads_markup() -> None:
    """Whatever a peer wrote enters the page by text nodes: no script of it parses a string."""
    scripts = [path.read_text() for path in PAGE.rglob("*.js")]
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    )
    served = {name for name, _ in FILES.values() if name.endswith(".js")}
    assert len(scripts) == len(served) and not [script for script in scripts if forbidden.search(script)]


def events_of(server: DashboardServer, count: int) -> list[dict[str, object]]:
    """The first events of the stream that have data."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(connection):
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        found: list[dict[str, object]] = []
        while len(found) < count:
            line = response.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        return found


def test_the_stream_tells_what_is_new_and_lives_through_a_damaged_store(
    server: DashboardServer, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run-1")
    looks = iter([None, lambda: append(folder, 2), lambda: folder.events.write_bytes(b"no database " * 999)])
    look = server.run.look_again

    def look_and_change() -> dict[str, object]:
        seen = look()
        if change := next(looks, None):
            change()
        server.run._until = 0.0
        return seen

    server.run.look_again = look_and_change  # type: ignore[method-assign]
    first, second, third = events_of(server, 3)
    assert [event["node"]["round"] for event in (first, second)] == [1, 2]  # type: ignore[index]
    assert "is damaged" in str(third["error"])


def append(folder: RunFolder, number: int) -> None:
    with closing(Store(folder.events)) as store:
        store.append(replace(ROUND, round=number))


def test_streams_are_bounded_and_end_with_the_server(tmp_path: Path) -> None:
    serving = DashboardServer(make_run(tmp_path / "run-1"), 0)
    lines = [
        socket.create_connection(("127.0.0.1", serving.port), timeout=60) for _ in range(MAX_STREAMS + 1)
    ]
    heads = []
    for line in lines:
        line.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heads.append(line.recv(65536).split(b"\r\n")[0])
    assert heads == [b"HTTP/1.1 200 OK"] * MAX_STREAMS + [b"HTTP/1.1 503 Service Unavailable"]
    serving.close()
    for line in lines:
        with closing(line):
            while line.recv(65536):
                pass  # until its end, or the test's


def test_one_round_and_one_peer_in_full(hostile: DashboardServer) -> None:
    one = json.loads(ask(hostile, "/round.json?round=2")[1])
    assert one["known"] and one["figures"]["round"] == 2 and one["phases"]["sampling"] == 0.5
    assert [each["peer"] for each in one["peers"]] == [kept_rollouts.PEER]
    assert json.loads(ask(hostile, "/round.json?round=9")[1]) == {"round": 9, "known": False, "last": 2}
    peer = json.loads(ask(hostile, "/peer.json?peer=%E2%80%A6lePeer1")[1])
    assert peer["peers"] == [kept_rollouts.PEER] and peer["rounds"][0]["refused"] == {"stale": 1}
    assert peer["refused"][0]["task"] == r"task\x1b[0m" and peer["refused"][0]["reason"] == "stale"
    assert json.loads(ask(hostile, "/peer.json?peer=nobody")[1])["peers"] == []
    for query in ("/round.json", "/round.json?round=x", "/peer.json", "/peer.json?peer=a&peer=b"):
        assert ask(hostile, query)[0].status == 400
    assert set(SCREENS) <= FILES.keys()
