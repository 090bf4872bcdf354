"""A measured swarm as the benchmark sees it: a process that is started, read line by line, and gone afterwards."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import psutil

from node.bench.gossip.child import OWN_NETWORK
from node.bench.gossip.swarm_plan import SwarmPlan, SwarmRound
from node.bench.kit.child_process import start_child
from swarm.errors import TransportDown

_END_SECONDS = 20.0  # for a swarm to stop its daemons
_KILL_SECONDS = 5.0
_LAST_WORDS_LENGTH = 400  # characters of a failed process's last words


@dataclass(frozen=True, slots=True)
class Measurement:
    """All measured rounds of one swarm."""

    plan: SwarmPlan
    rounds: Sequence[SwarmRound]
    own_network: bool  # nothing else was counted


def measure(plan: SwarmPlan, on_round: Callable[[SwarmRound], None]) -> Measurement:
    """Plays `plan` in a process of its own. Raises TransportDown with its last words when that fails."""
    with tempfile.TemporaryFile() as words:
        process = start_child("node.bench.gossip.child", plan.encode(), words)
        try:
            measurement = _listen(plan, process, on_round)
        finally:
            end(process)
        if len(measurement.rounds) < plan.rounds:
            raise TransportDown(f"{plan.case}, {plan.side}: the swarm failed: {_last_line(words)}")
    return measurement


def _listen(
    plan: SwarmPlan, process: subprocess.Popen[str], on_round: Callable[[SwarmRound], None]
) -> Measurement:
    assert process.stdout
    first = process.stdout.readline().strip()
    rounds = []
    for line in itertools.islice(process.stdout, plan.rounds):
        rounds.append(SwarmRound.decode(line))
        on_round(rounds[-1])
    return Measurement(plan, rounds, first == OWN_NETWORK)


def end(process: subprocess.Popen[str]) -> None:
    """Hangs up and waits; whatever of the swarm is left after that is killed."""
    assert process.stdin and process.stdout
    family = _family(process.pid)
    with suppress(BrokenPipeError):
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, _KILL_SECONDS)
    process.wait()
    process.stdout.close()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _last_line(words: IO[bytes]) -> str:
    words.seek(0)
    lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][-_LAST_WORDS_LENGTH:] if lines else "it said nothing"
