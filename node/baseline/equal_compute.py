"""Equal compute: a silo baseline goes on until it has had as many CPU seconds as the node that it is compared with."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence

from node.baseline.processes import NodeProcesses
from node.storage.events import History, RoundEvent
from node.storage.run_folder import RunFolder


def cpu_seconds(rounds: Sequence[RoundEvent]) -> float:
    """Processor time of rounds: of all threads, of the scorers' processes and of the transport's."""
    return sum(event.cpu_seconds for event in rounds)


def transport_cpu_seconds(rounds: Sequence[RoundEvent]) -> float:
    """The part of `cpu_seconds` that the transport's process and its daemon took."""
    return sum(event.transport_cpu_seconds for event in rounds)


def rounds_to_even(rounds: Sequence[RoundEvent], seconds: float) -> int | None:
    """Up to which round a baseline of these `rounds` has to go on to have had `seconds`; None when it has."""
    own = cpu_seconds(rounds)
    if not rounds or own >= seconds:
        return None
    return rounds[-1].round + math.ceil((seconds - own) * len(rounds) / own)


def go_on(processes: NodeProcesses, run: RunFolder, rounds: int) -> subprocess.Popen[bytes]:
    """Starts what is left of a run up to `rounds`, in a process of its own."""
    path = run.path
    return processes.start(
        ["run", "--resume", "--run-dir", str(path), "--rounds", str(rounds), "--json"], path
    )


def even_out(
    processes: NodeProcesses, node: RunFolder, baseline: RunFolder
) -> subprocess.Popen[bytes] | None:
    """Sends an ended baseline on until it has had its node's CPU seconds; None where it has had them."""
    seconds = cpu_seconds(History(node.events).rounds())
    rounds = rounds_to_even(History(baseline.events).rounds(), seconds)
    return None if rounds is None else go_on(processes, baseline, rounds)
