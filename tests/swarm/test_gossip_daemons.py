"""`murmur bench gossip` with real daemons: it measures, and it leaves no process however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from node.bench.gossip.process import measure
from node.bench.gossip.swarm_plan import OURS, REFERENCE, SwarmPlan, SwarmRound
from swarm.errors import TransportDown

pytestmark = [
    pytest.mark.swarm,
    pytest.mark.slow,
    pytest.mark.timeout(400),
]  # each imports torch several times

SIZE = 20_000
PATIENCE = 120.0  # seconds that a loaded machine may take for anything here


def a_plan(side: str, rounds: int = 1) -> SwarmPlan:
    return SwarmPlan("small", side, nodes=3, size=SIZE, seed=0, rounds=rounds)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def count_daemons(processes: list[psutil.Process]) -> int:
    names = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return names.count("p2pd")


def until_gone(processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, PATIENCE)
    assert not left


@pytest.mark.parametrize("side", [OURS, REFERENCE])
def test_a_small_swarm_delivers_everything_and_leaves_nothing(side: str) -> None:
    seen: list[psutil.Process] = []
    counts: list[int] = []

    def look(played: SwarmRound) -> None:
        seen.extend(descendants(os.getpid()))
        counts.append(count_daemons(descendants(os.getpid())))

    measured = measure(a_plan(side, rounds=2), look)
    until_gone(seen)
    assert counts[0] == 3  # after the last round they may be gone before they are counted
    assert len(measured.rounds) == 2
    for played in measured.rounds:
        assert played.got == (2, 2, 2) and played.failures == 0
        # The bodies themselves crossed the loopback, and the headers were not the greater part.
        assert 2 * SIZE < played.bytes_per_node() < 10 * SIZE


def test_a_swarm_that_dies_is_an_error_and_leaves_nothing() -> None:
    seen: list[psutil.Process] = []

    def kill(played: SwarmRound) -> None:
        if not seen:
            seen.extend(descendants(os.getpid()))
            assert count_daemons(seen) == 3
            psutil.Process().children()[0].kill()

    with pytest.raises(TransportDown, match="small, ours: the swarm failed"):
        measure(a_plan(OURS, rounds=50), kill)
    until_gone(seen)


def run_command(end: Callable[[int], None]) -> tuple[int, str, list[psutil.Process]]:
    """Exit code, standard output and children of a benchmark that `end` is let loose on in its second swarm."""
    command = [sys.executable, "-m", "node", "bench", "gossip", "--case", "n4", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        try:
            next(line for line in process.stderr if "n4, reference: " in line and "delivered" in line)
            seen = descendants(process.pid)
            assert count_daemons(seen) == 4
            end(process.pid)
            told = process.stdout.read()
            return process.wait(PATIENCE), told, seen
        finally:
            process.kill()


def test_ctrl_c_gives_what_is_complete_and_leaves_nothing() -> None:
    code, told, seen = run_command(lambda pid: os.kill(pid, signal.SIGINT))
    until_gone(seen)
    assert code == 130
    assert [(row["case"], row["side"]) for row in json.loads(told)["rows"]] == [("n4", OURS)]


def test_a_killed_benchmark_leaves_nothing() -> None:
    code, told, seen = run_command(lambda pid: os.kill(pid, signal.SIGKILL))
    until_gone(seen)
    assert (code, told) == (-signal.SIGKILL, "")
