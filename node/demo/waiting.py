"""The wait of a demo in words: nodes that start, rounds, or baselines on their way to equal compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from node.demo.status import NodeStatus

UNDER_WAY = ("starting", "running", "resumed")
SHORT = 0.9  # of its node's CPU seconds: a baseline with more has had them, to within its last rounds


def waited_for(statuses: Sequence[NodeStatus]) -> str:
    """As `still ...` has it: what the demo would go on with, and who keeps it from that."""
    starting = [status.label for status in statuses if status.state == "starting"]
    if len(starting) == len(statuses):
        return "starting the nodes"
    if starting:
        return f"starting {', '.join(starting)}, while the others play"
    shares = [(status, compute_share(status, statuses)) for status in statuses]
    playing = [status for status, share in shares if share is None and status.state in UNDER_WAY]
    if playing:
        return "playing: " + ", ".join(f"{status.label} at round {_round(status)}" for status in playing)
    short = [f"{status.label} {share:.0%}" for status, share in shares if share is not None and share < 1]
    if not short:
        return "ending the nodes"
    return f"playing the baselines on, until each has had its node's CPU seconds: {', '.join(short)}"


def compute_share(status: NodeStatus, statuses: Sequence[NodeStatus]) -> float | None:
    """The part of its node's CPU seconds that a baseline has had; None before the node's end, and of a node."""
    node = next((s for s in statuses if (s.number, s.role) == (status.number, "swarm")), None)
    if status.role == "swarm" or node is None or node.state in UNDER_WAY or not node.cpu_seconds:
        return None
    return status.cpu_seconds / node.cpu_seconds


def as_shown(statuses: Sequence[NodeStatus]) -> list[NodeStatus]:
    """The same; a baseline that plays on alone has its share of the CPU seconds to reach in its state.

    One that played its rounds is not finished while it may be sent on: it waits.
    """
    going_on = any(status.state in UNDER_WAY for status in statuses)
    return [replace(status, state=_shown_state(status, statuses, going_on)) for status in statuses]


def _shown_state(status: NodeStatus, statuses: Sequence[NodeStatus], going_on: bool) -> str:
    share = compute_share(status, statuses)
    if share is not None and status.state == "running":
        return f"running, {min(share, 1.0):.0%}"
    if (
        status.role != "swarm"
        and status.state == "finished"
        and going_on
        and (share is None or share < SHORT)
    ):
        return "waiting"
    return status.state


def _round(status: NodeStatus) -> int:
    return status.rounds[-1].round if status.rounds else 0
