"""The real transport on 127.0.0.1: every node has its own process and its own daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE, until_answered

from policies.tasks.task import TaskSpec
from swarm.errors import FetchFailed, TransportDown, TransportError
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Announcement, Summary, TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

pytestmark = pytest.mark.swarm

MANIFEST = Manifest("loopback", (TaskSpec("sort"),))
SUMMARY = Summary(1, 2, "tiny", 1, 8, (TaskSummary("sort@1", 8, 0.5),))

HERE = Path(__file__).parent


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)


def daemon_of(transport: DhtTransport) -> psutil.Process:
    assert transport.pid
    return next(p for p in psutil.Process(transport.pid).children() if p.name() == "p2pd")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def newest_of(transport: DhtTransport, peer: str) -> Announcement | None:
    """The announcement of `peer` that `transport` knows, or None while it or its swarm is away."""
    try:
        return next((a for a in transport.announcements(8) if a.peer == peer), None)
    except TransportDown:
        return None


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DhtTransport]]:
    """alice, whom the others join through; bob; carol; and an observer, who only looks."""
    folder = tmp_path_factory.mktemp("flock")

    def start(name: str, stack: ExitStack, bootstrap: tuple[str, ...]) -> DhtTransport:
        settings = DhtSettings(MANIFEST, bootstrap, lifetime=300.0, log=folder / f"{name}.log")
        return stack.enter_context(closing(DhtTransport(settings, folder / f"{name}.key")))

    with ExitStack() as stack:
        alice = start("alice", stack, ())
        alice.wait_ready()
        addresses = alice.status().addresses
        watching = DhtSettings(MANIFEST, addresses, listen=(), client_mode=True, call_timeout=3.0)
        flock = {
            "alice": alice,
            "bob": start("bob", stack, addresses),
            "carol": start("carol", stack, addresses),
            "observer": stack.enter_context(closing(DhtTransport(watching))),
        }
        for transport in flock.values():
            transport.wait_ready()
        yield flock


def test_a_daemon_that_is_not_up_yet_is_told_with_what_to_do() -> None:
    starting = closing(DhtTransport(DhtSettings(MANIFEST)))
    with (
        starting as transport,
        pytest.raises(TransportDown, match="still starting, as on a machine that has too"),
    ):
        transport.wait_ready(0.0)


def test_everybody_gets_the_bodies_of_all_others(flock: dict[str, DhtTransport]) -> None:
    publishers = [flock[name] for name in ("alice", "bob", "carol")]
    bodies = {t.peer_id: os.urandom(200_000) for t in publishers}
    published = {t.peer_id: t.publish(bodies[t.peer_id], SUMMARY) for t in publishers}
    for transport in flock.values():
        others = set(bodies) - {transport.peer_id}
        until(lambda t=transport, o=others: len(t.announcements(8)) == len(o), "all announcements")
        found = transport.announcements(8)
        assert {a.peer for a in found} == others
        assert all(a == published[a.peer] for a in found)
        assert [a.created for a in found] == sorted((a.created for a in found), reverse=True)
        for announcement in found:
            assert until_answered(transport.fetch, announcement) == bodies[announcement.peer]


def test_statuses_name_addresses_and_count(flock: dict[str, DhtTransport]) -> None:
    bob = flock["bob"]
    until(lambda: bob.status().counters.get("fetched") == 2, "bob's counters")
    status = bob.status()
    assert status.healthy and status.detail == ""
    assert status.peers_seen == 2
    assert all(a.endswith(f"/p2p/{bob.peer_id}") for a in status.addresses) and status.addresses
    assert status.counters["fetched_bytes"] == 400_000
    assert flock["observer"].status().addresses == ()


def test_a_publisher_is_told_what_was_left_out_of_its_bodies(flock: dict[str, DhtTransport]) -> None:
    bob, carol = flock["bob"], flock["carol"]
    carol.publish(os.urandom(1000), SUMMARY)

    def fetched() -> bool:
        found = [a for a in bob.announcements(8) if a.peer == carol.peer_id and a.size == 1000]
        return bool(found and until_answered(bob.fetch, found[0], {"encoding": 3}))

    until(fetched, "carol's newest body")
    until(lambda: carol.status().counters.get("told_refused_encoding") == 3, "what carol was told")
    assert "told_refused_encoding" not in bob.status().counters


def test_a_status_tells_the_cpu_seconds_of_the_process_and_its_daemon(flock: dict[str, DhtTransport]) -> None:
    bob = flock["bob"]
    assert bob.pid
    used = sum(sum(p.cpu_times()[:2]) for p in (psutil.Process(bob.pid), daemon_of(bob)))
    assert used > 0
    until(lambda: bob.status().cpu_seconds >= used, "what the processes had used by then")
    assert bob.status().ended_cpu_seconds == 0.0


def test_a_body_that_its_publisher_does_not_hold_is_a_failed_fetch(flock: dict[str, DhtTransport]) -> None:
    real = flock["alice"].announcements(8)[0]
    with pytest.raises(FetchFailed, match="not_found"):
        flock["alice"].fetch(replace(real, digest=bytes(32)))


def test_what_others_would_refuse_is_not_published(flock: dict[str, DhtTransport]) -> None:
    with pytest.raises(TransportError, match="fingerprint"):
        flock["observer"].publish(b"body", Summary(1, 2, "\x1b[2J", 1, 8, ()))
    with pytest.raises(ValueError, match="0 bytes"):
        flock["observer"].publish(b"", SUMMARY)


def test_hostile_records_are_refused_by_every_node(flock: dict[str, DhtTransport]) -> None:
    nodes = [flock[name] for name in ("alice", "bob", "carol")]
    victim = newest_of(flock["alice"], flock["bob"].peer_id)
    assert victim
    bootstrap = ",".join(t.status().addresses[0] for t in nodes)
    done = subprocess.run(
        [sys.executable, HERE / "mallory.py", bootstrap, MANIFEST.encode().hex(), victim.encode().hex()],
        capture_output=True,
        env=os.environ | {"HIVEMIND_LOGLEVEL": "ERROR", "OMP_NUM_THREADS": "1"},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    taken = json.loads(done.stdout)
    names = {t.peer_id for t in nodes}
    assert taken.pop("honest") == dict.fromkeys(names, True)
    assert len(taken) == 9
    for name, answers in taken.items():
        assert answers == dict.fromkeys(names, False), name
    for transport in nodes:
        reasons = {
            "refused_record",
            "refused_signature",
            "refused_swarm",
            "refused_malformed",
            "refused_lifetime",
        }
        until(lambda t=transport, r=reasons: r <= set(t.status().counters), "the refusals are counted")
    assert newest_of(flock["carol"], flock["bob"].peer_id) == victim


def test_a_process_that_hangs_holds_no_call_for_ever(flock: dict[str, DhtTransport]) -> None:
    observer = flock["observer"]
    assert observer.pid
    os.kill(observer.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TransportDown, match="no answer"):
            observer.announcements(8)
    finally:
        os.kill(observer.pid, signal.SIGCONT)
    until(lambda: newest_of(observer, flock["bob"].peer_id), "the observer goes on")


def test_a_killed_daemon_comes_back_and_announces_again(flock: dict[str, DhtTransport]) -> None:
    bob, carol = flock["bob"], flock["carol"]
    body = os.urandom(1000)
    before = bob.publish(body, SUMMARY)
    address = bob.status().addresses
    counted = bob.status().cpu_seconds
    daemon_of(bob).kill()
    until(lambda: not bob.status().healthy, "bob notices")
    bob.wait_ready()
    assert bob.status().addresses == address
    assert bob.status().cpu_seconds > counted
    until(
        lambda: (newest_of(carol, bob.peer_id) or before).created > before.created, "bob's new announcement"
    )
    again = newest_of(carol, bob.peer_id)
    assert again and again.digest == before.digest
    assert until_answered(carol.fetch, again) == body


def test_the_node_that_all_joined_through_may_lose_its_daemon_too(flock: dict[str, DhtTransport]) -> None:
    alice, bob = flock["alice"], flock["bob"]
    daemon_of(alice).kill()
    until(lambda: not alice.status().healthy, "alice notices")
    alice.wait_ready()
    made = bob.publish(os.urandom(1000), SUMMARY)
    until(lambda: newest_of(alice, bob.peer_id) == made, "bob's announcement")


def test_a_killed_process_is_replaced_and_announces_again(flock: dict[str, DhtTransport]) -> None:
    bob, carol = flock["bob"], flock["carol"]
    body = os.urandom(1000)
    before = bob.publish(body, SUMMARY)
    old, daemon, counted = bob.pid, daemon_of(bob).pid, bob.status()
    assert old
    os.kill(old, signal.SIGKILL)
    until(lambda: not bob.status().healthy, "bob notices")
    assert bob.status().cpu_seconds >= counted.cpu_seconds
    with pytest.raises(TransportDown):
        bob.announcements(8)
    bob.wait_ready()
    assert bob.pid != old
    until(lambda: gone(daemon), "the daemon of the killed process ends")
    until(
        lambda: (newest_of(carol, bob.peer_id) or before).created > before.created, "bob's new announcement"
    )
    again = newest_of(carol, bob.peer_id)
    assert again and until_answered(carol.fetch, again) == body
    # What the killed process had used by its end counts, with what the new one has used since.
    assert bob.status().ended_cpu_seconds > counted.ended_cpu_seconds
    assert bob.status().cpu_seconds > counted.cpu_seconds


def test_a_publisher_that_is_gone_fails_alone(flock: dict[str, DhtTransport]) -> None:
    alice, bob, carol = flock["alice"], flock["bob"], flock["carol"]
    lost = carol.publish(os.urandom(1000), SUMMARY)
    kept = bob.publish(b"still here", SUMMARY)
    until(lambda: newest_of(alice, carol.peer_id) == lost, "carol's announcement")
    pid = carol.pid
    assert pid
    carol.close()
    assert gone(pid)
    with pytest.raises(FetchFailed, match="cannot be reached"):
        alice.fetch(lost)
    assert until_answered(alice.fetch, kept) == b"still here"
    until(lambda: newest_of(flock["observer"], bob.peer_id), "the observer sees who is left")
    with pytest.raises(TransportDown, match="closed"):
        carol.publish(b"body", SUMMARY)
    carol.close()


PARENT = """
import sys, time
from pathlib import Path
from policies.tasks.task import TaskSpec
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest
transport = DhtTransport(DhtSettings(Manifest("orphan", (TaskSpec("sort"),))), Path(sys.argv[1]))
transport.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_node_leaves_no_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "key"], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout and parent.stdout.readline() == b"ready\n"
            family = psutil.Process(parent.pid).children(recursive=True)
            assert sorted(p.name() for p in family)[0] == "p2pd" and len(family) == 2
        finally:
            parent.kill()
    until(lambda: all(gone(p.pid) for p in family), "child and daemon end")


def test_a_dead_bootstrap_is_named_and_tried_again(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    late = Identity.load_or_create(tmp_path / "late.key").peer_id
    address = f"/ip4/127.0.0.1/tcp/{port}"
    eager = DhtTransport(DhtSettings(MANIFEST, (f"{address}/p2p/{late}",)), tmp_path / "eager.key")
    with closing(eager):
        until(lambda: "bootstrap" in eager.status().detail, "a readable cause")
        with pytest.raises(TransportDown, match=f"no bootstrap peer answers at 127.0.0.1:{port}"):
            eager.wait_ready(0.1)
        with pytest.raises(TransportDown, match="no bootstrap peer answers"):
            eager.publish(b"kept for later", SUMMARY)
        settings = DhtSettings(MANIFEST, listen=(address,), start_timeout=PATIENCE)
        with closing(DhtTransport(settings, tmp_path / "late.key")) as bootstrap:
            eager.wait_ready(PATIENCE)
            bootstrap.wait_ready()
            assert bootstrap.status().addresses == (f"{address}/p2p/{late}",)


CANCELLED = """
import asyncio, sys
from pathlib import Path
from policies.tasks.task import TaskSpec
from swarm.network import supervisor as network
from swarm.network.ipc import DhtSettings
from swarm.wire.manifest import Manifest

async def fails_when_cancelled(*ignored):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise RuntimeError("the daemon ended first") from None

async def main():
    network.Daemon.start = fails_when_cancelled
    node = network.PeerSupervisor(DhtSettings(Manifest("cancelled", (TaskSpec("sort"),))), Path(sys.argv[1]))
    running = asyncio.create_task(node.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=10)
    print("cancelled" if running.cancelled() else "still running")
    sys.stdout.flush()

asyncio.run(main())
"""


def test_a_node_ends_though_its_daemon_fails_in_the_same_moment(tmp_path: Path) -> None:
    Identity.ephemeral().save(tmp_path / "key")
    done = subprocess.run(
        [sys.executable, "-c", CANCELLED, tmp_path / "key"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "cancelled\n"
