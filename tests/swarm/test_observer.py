"""py-libp2p and the Go daemon, both ways: the observer on real nodes, streams from and to strangers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
from needs_libp2p import needs_libp2p
from patience import until_answered

from policies.tasks.task import TaskSpec
from swarm.errors import TransportDown
from swarm.observer.client import Look, Observer
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Announcement, Summary, TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

pytestmark = [pytest.mark.swarm, needs_libp2p]

MANIFEST = Manifest("observed", (TaskSpec("sort"),))
SUMMARY = Summary(3, 2, "tiny", 1, 8, (TaskSummary("sort@1", 8, 0.5),))
PATIENCE = 90.0  # seconds that a loaded machine may take for anything here
SIZE = 300_000  # bytes of a body

HERE = Path(__file__).parent
QUIET = os.environ | {"HIVEMIND_LOGLEVEL": "ERROR", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DhtTransport]]:
    """alice, whom the others join through; bob; carol, who announces nothing; dora, whom nobody can dial."""
    folder = tmp_path_factory.mktemp("flock")

    def start(name: str, stack: ExitStack, bootstrap: tuple[str, ...], **changes: object) -> DhtTransport:
        settings = DhtSettings(MANIFEST, bootstrap, lifetime=300.0, start_timeout=PATIENCE, **changes)  # type: ignore[arg-type]
        return stack.enter_context(closing(DhtTransport(settings, folder / f"{name}.key")))

    with ExitStack() as stack:
        alice = start("alice", stack, ())
        alice.wait_ready()
        addresses = alice.status().addresses
        flock = {
            "alice": alice,
            "bob": start("bob", stack, addresses),
            "carol": start("carol", stack, addresses),
            "dora": start("dora", stack, addresses, listen=(), client_mode=True),
        }
        for transport in flock.values():
            transport.wait_ready()
        yield flock


@pytest.fixture(scope="module")
def published(flock: dict[str, DhtTransport]) -> dict[str, Announcement]:
    return {name: flock[name].publish(os.urandom(SIZE), SUMMARY) for name in ("alice", "bob", "dora")}


@pytest.fixture(scope="module")
def observer(flock: dict[str, DhtTransport]) -> Iterator[Observer]:
    with closing(Observer(Invite(MANIFEST, flock["alice"].status().addresses))) as observer:
        yield observer


def look_until(observer: Observer, good: Callable[[Look], bool]) -> Look:
    deadline = time.monotonic() + PATIENCE
    while True:
        look = observer.look(PATIENCE)
        if good(look):
            return look
        assert time.monotonic() < deadline, look
        time.sleep(0.2)


def test_the_observer_reads_what_nodes_announce(
    flock: dict[str, DhtTransport], published: dict[str, Announcement], observer: Observer
) -> None:
    look = look_until(observer, lambda look: len(look.announcements) == 3)
    assert {a.peer: a for a in look.announcements} == {a.peer: a for a in published.values()}
    created = [a.created for a in look.announcements]
    assert created == sorted(created, reverse=True)
    assert look.nodes == 3 and look.refused == {}
    assert look.resident < 200 * 2**20  # 100 MiB when this was written


def test_nodes_tell_their_figures_announced_or_not(
    flock: dict[str, DhtTransport], published: dict[str, Announcement], observer: Observer
) -> None:
    look = look_until(observer, lambda look: len(look.stats) == 3)
    assert set(look.stats) == {flock[name].peer_id for name in ("alice", "bob", "carol")}
    bob, carol = (look.stats[flock[name].peer_id] for name in ("bob", "carol"))
    assert (bob.round, bob.policy_version, bob.fingerprint) == (3, 2, "tiny")
    assert (carol.round, carol.fingerprint) == (0, "")
    assert 0.0 < bob.uptime < 600.0
    assert dict(bob.counters)["announced"] == 1 and "announced" not in dict(carol.counters)
    assert look.silent == {flock["dora"].peer_id: "cannot be reached"}


def test_a_later_look_sees_later_figures(
    flock: dict[str, DhtTransport], published: dict[str, Announcement], observer: Observer
) -> None:
    bob = flock["bob"].peer_id
    before = look_until(observer, lambda look: bob in look.stats).stats[bob]
    until_answered(flock["alice"].fetch, published["bob"])
    look = look_until(observer, lambda look: bob in look.stats and "served" in dict(look.stats[bob].counters))
    after = look.stats[bob]
    counted = dict(after.counters)
    assert after.uptime > before.uptime
    assert counted["served_bytes"] == SIZE * counted["served"]


def test_another_swarm_on_the_same_nodes_is_not_shown(flock: dict[str, DhtTransport]) -> None:
    other = Manifest("other", MANIFEST.tasks)
    with closing(Observer(Invite(other, flock["alice"].status().addresses))) as observer:
        look = look_until(observer, lambda look: look.nodes == 3)
    assert look.announcements == () and look.stats == {}


def test_a_dead_bootstrap_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{Identity.ephemeral().peer_id}"
    with (
        closing(Observer(Invite(MANIFEST, (address,)))) as observer,
        pytest.raises(TransportDown, match=f"no bootstrap peer answers at 127.0.0.1:{port}"),
    ):
        observer.look(PATIENCE)


def test_a_bootstrap_of_another_name_is_not_believed(flock: dict[str, DhtTransport]) -> None:
    place = flock["alice"].status().addresses[0].rpartition("/p2p/")[0]
    address = f"{place}/p2p/{Identity.ephemeral().peer_id}"
    with (
        closing(Observer(Invite(MANIFEST, (address,)))) as observer,
        pytest.raises(TransportDown, match="no bootstrap peer answers"),
    ):
        observer.look(PATIENCE)


def test_a_bootstrap_that_accepts_and_says_nothing_holds_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}/p2p/{Identity.ephemeral().peer_id}"
        with (
            closing(Observer(Invite(MANIFEST, (address,)))) as observer,
            pytest.raises(TransportDown, match="no bootstrap peer answers"),
        ):
            observer.look(PATIENCE)


PARENT = """
import sys, time
from policies.tasks.task import TaskSpec
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.observer.client import Observer
observer = Observer(Invite(Manifest("orphan", (TaskSpec("sort"),)), ()))
print(observer.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_parent_leaves_no_observer() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_py_libp2p_fetches_a_body_from_a_node(
    flock: dict[str, DhtTransport], published: dict[str, Announcement]
) -> None:
    wanted = published["bob"]
    command = [
        "fetch",
        flock["bob"].status().addresses[0],
        MANIFEST.swarm_id,
        wanted.digest.hex(),
        str(wanted.size),
    ]
    done = subprocess.run(
        [sys.executable, HERE / "stranger.py", *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", wanted.digest.hex()]


def test_the_go_daemon_opens_a_stream_to_py_libp2p() -> None:
    with subprocess.Popen(
        [sys.executable, HERE / "stranger.py", "listen"], stdout=subprocess.PIPE, text=True
    ) as stranger:
        try:
            assert stranger.stdout
            address = stranger.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, HERE / "caller.py", address],
                capture_output=True,
                text=True,
                env=QUIET,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            caller, answer = done.stdout.split()
            assert answer == "HELLO"
            assert stranger.stdout.readline().split() == [caller, "hello"]
        finally:
            stranger.kill()
