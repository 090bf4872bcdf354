"""The network lab on the real kernel: what its hosts can reach, what is lost, and that nothing of it stays."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from node.bench.netlab import lab as labs
from node.bench.netlab.kernel import LabError, command, obstacle
from node.bench.netlab.lab import Host, Lab, sweep
from node.bench.netlab.wire import Line

MISSING = obstacle(nat=True)
pytestmark = [
    pytest.mark.swarm,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

PORT = 4001
PATIENCE = 1.0  # seconds to connect; nothing here takes longer unless it is meant to


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def connect(caller: Host, address: str, timeout: float = PATIENCE) -> socket.socket:
    """Raises OSError."""
    with caller.inside():
        dialling = socket.socket()
    try:
        dialling.settimeout(timeout)
        dialling.connect((address, PORT))
    except OSError:
        dialling.close()
        raise
    return dialling


def reaches(caller: Host, called: Host) -> bool:
    with called.inside(), socket.create_server(("0.0.0.0", PORT)):
        try:
            connect(caller, called.seen_as).close()
        except OSError:
            return False
        return True


def namespaces() -> set[str]:
    return {line.split()[0] for line in command(["ip", "netns", "list"]).splitlines()}


def test_cuts_and_partitions_come_and_go(lab: Lab) -> None:
    ann, bea, carol = (lab.host(name) for name in ("ann", "bea", "carol"))
    assert reaches(ann, bea)
    lab.cut([bea])
    assert not reaches(ann, bea) and not reaches(bea, ann) and reaches(ann, carol)
    lab.mend([bea])
    lab.part([ann, bea])
    assert reaches(ann, bea) and not reaches(ann, carol) and not reaches(carol, bea)
    lab.heal()
    assert reaches(carol, bea)


def test_a_line_delays_and_loses(lab: Lab) -> None:
    ann, bea = lab.host("ann"), lab.host("bea")
    lab.shape([ann], Line(delay=0.2))
    with bea.inside(), socket.create_server(("0.0.0.0", PORT)):
        start = time.monotonic()
        connect(ann, bea.address).close()
        assert 0.2 <= time.monotonic() - start < 0.9
        lab.shape([ann], Line(loss=1.0))
        with pytest.raises(TimeoutError):
            connect(ann, bea.address)
    assert lab.wire.counters["lost"] > 0


def test_who_is_behind_a_nat_dials_out_and_is_not_dialled(lab: Lab) -> None:
    outside, home, other = lab.host("outside"), lab.host_behind_nat("home"), lab.host_behind_nat("other")
    assert not reaches(outside, home) and not reaches(other, home)
    with (
        outside.inside(),
        socket.create_server(("0.0.0.0", PORT)) as server,
        connect(home, outside.address) as dialled,
    ):
        caller, (address, _) = server.accept()
        with caller:
            assert address == home.seen_as != home.address
            caller.sendall(b"come in")  # an answer, so the router lets it through
            assert dialled.recv(16) == b"come in"


def test_all_that_runs_on_a_host_can_be_killed(lab: Lab) -> None:
    ann = lab.host("ann")
    with ann.inside():
        sleeper = subprocess.Popen(["sleep", "600"])
    assert ann.pids() == [sleeper.pid]
    ann.kill()
    assert sleeper.wait(5) == -signal.SIGKILL
    assert ann.pids() == []


def test_nothing_stays_after_an_error() -> None:
    before = namespaces()
    with pytest.raises(LabError, match="two"), Lab() as lab:
        ann = lab.host_behind_nat("ann")
        with ann.inside():
            sleeper = subprocess.Popen(["sleep", "600"])
        assert len(namespaces() - before) == 2
        raise LabError("two were made")
    assert namespaces() == before
    assert sleeper.wait(5) == -signal.SIGKILL


KILLED = """
import os, signal
from node.bench.netlab.lab import Lab
with Lab() as lab:
    print(lab.host("ann").namespace, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_lab_left_is_swept() -> None:
    with Lab() as living:
        kept = living.host("bea").namespace
        killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        left = killed.stdout.strip()
        assert {left, kept} <= namespaces()
        assert left in sweep()
        assert left not in namespaces() and kept in namespaces()
    assert kept not in namespaces()


def test_more_hosts_than_addresses_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labs, "MAX_HOSTS", 1)
    lab.host("ann")
    with pytest.raises(LabError, match="more than 1"):
        lab.host("bea")
