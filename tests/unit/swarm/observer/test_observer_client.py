"""The parent's side of the observer, with a few lines of Python in the place of its process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psutil
import pytest
from announcing import MANIFEST, announce

from swarm.errors import DecodeError, TransportDown
from swarm.exchange.peer_stats import NodeStats
from swarm.observer import client
from swarm.observer.client import Observer
from swarm.observer.ipc import Done, Down, Figures, Offer, Orders, Report, Silent, decode, encode
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

ALICE, BOB = Identity.ephemeral(), Identity.ephemeral()
STATS = NodeStats("0.1.0", 12.5, 3, 7, "tiny", 4, (("announced", 2),))
INVITE = Invite(MANIFEST, (f"/ip4/192.0.2.1/tcp/4001/p2p/{ALICE.peer_id}",))
REPORTS: list[Report] = [
    Offer(announce(ALICE).encode()),
    Figures(ALICE.peer_id, STATS.encode()),
    Silent(BOB.peer_id, "cannot be\x1b[2J reached"),
    Done(2, {"signature": 1}, 90_000_000),
]

Start = Callable[[str], Observer]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts an observer whose process runs the given script."""
    with closing(Closing()) as opened:

        def started(script: str) -> Observer:
            spawn = subprocess.Popen
            monkeypatch.setattr(
                client.subprocess, "Popen", lambda command, **k: spawn([sys.executable, "-c", script], **k)
            )
            opened.observer = Observer(INVITE)
            return opened.observer

        yield started


class Closing:
    observer: Observer | None = None

    def close(self) -> None:
        if self.observer:
            self.observer.close()


def saying(*reports: Report) -> str:
    """A process that waits for its orders, and says all of `reports` when asked to look."""
    text = "".join(encode(r) + "\n" for r in reports)
    return f"import sys\nsys.stdin.readline(), sys.stdin.readline()\nprint({text!r}, flush=True)"


@pytest.mark.parametrize("report", [*REPORTS, Down("no bootstrap")], ids=lambda r: type(r).__name__)
def test_reports_survive_the_pipe(report: Report) -> None:
    assert decode(encode(report).encode()) == report


def test_lines_that_are_no_reports_are_refused() -> None:
    for line in (
        b"",
        b"{",
        b"[]",
        b'{"kind": "other"}',
        b'{"kind": "offer"}',
        b'{"kind": "offer", "raw": "x"}',
        b"\xff",
    ):
        with pytest.raises(DecodeError):
            decode(line)


def test_orders_survive_the_pipe() -> None:
    orders = Orders(MANIFEST, INVITE.bootstrap, bytes(32), b"t" * 64)
    assert Orders.decode(orders.encode()) == orders


def test_a_look_gathers_what_the_process_says(start: Start) -> None:
    look = start(saying(*REPORTS)).look()
    assert look.announcements == (announce(ALICE),)
    assert look.stats == {ALICE.peer_id: STATS}
    assert look.silent == {BOB.peer_id: "cannot be?[2J reached"}
    assert (look.nodes, look.refused, look.resident) == (2, {"signature": 1}, 90_000_000)


def test_the_process_gets_the_invite_and_a_key_of_its_own(start: Start) -> None:
    script = "import sys; line = sys.stdin.readline(); sys.stderr.write(line); sys.stderr.flush()"
    echoes = []
    for _ in range(2):
        observer = start(script)
        with pytest.raises(TransportDown):
            observer.look()
        echoes.append(observer._end)
        observer.close()
    assert all(MANIFEST.encode().hex() in echo for echo in echoes)
    assert echoes[0] != echoes[1]


def test_a_swarm_that_nobody_answers_for_is_named(start: Start) -> None:
    with pytest.raises(TransportDown, match=r"no bootstrap peer answers at 192\.0\.2\.1"):
        start(saying(Down("no bootstrap peer answers at 192.0.2.1:4001"))).look()


def test_a_process_that_dies_gives_its_last_words(start: Start) -> None:
    observer = start("import sys; sys.stdin.readline(); raise ValueError('the reason')")
    for _ in range(2):
        with pytest.raises(TransportDown, match="the observer ended: ValueError: the reason"):
            observer.look()


@pytest.mark.parametrize(
    "script",
    [
        "print('{')",
        "print('x' * 10_000_000)",
        "import os; os.write(1, b'\\xff\\n')",
        "print('[' * 100_000)",
    ],
)
def test_a_process_that_says_something_else_is_given_up(start: Start, script: str) -> None:
    with pytest.raises(TransportDown, match="the observer ended: not a line"):
        start(f"import sys; sys.stdin.readline(); {script}; sys.stdout.flush(); sys.stdin.read()").look(20.0)


def test_a_process_that_says_nothing_holds_nobody_for_ever(start: Start) -> None:
    observer = start("import time; time.sleep(600)")
    began = time.monotonic()
    with pytest.raises(TransportDown, match=r"within 0\.2 s"):
        observer.look(0.2)
    observer.close()
    assert time.monotonic() - began < 10.0
    assert not psutil.pid_exists(observer.pid)


def test_a_process_that_ignores_the_end_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_END_TIMEOUT", 0.1)
    observer = start("import time; time.sleep(600)")
    observer.close()
    assert not psutil.pid_exists(observer.pid)


def test_a_process_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(client.subprocess, "Popen", refuse)
    with pytest.raises(TransportDown, match="Cannot allocate memory"):
        Observer(INVITE)


WITHOUT_LIBP2P = """
import sys
sys.modules["libp2p"] = None
from swarm.observer.__main__ import main
main()
"""


def test_a_machine_without_libp2p_is_told_so(start: Start) -> None:
    with pytest.raises(TransportDown, match=r"py-libp2p cannot be loaded .*pip install"):
        start(WITHOUT_LIBP2P).look()
