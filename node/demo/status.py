"""The status of a demo's member: what its event store and its process tell at one moment."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from node.baseline.equal_compute import cpu_seconds, transport_cpu_seconds
from node.baseline.uplift import Point, evaluations_by_cpu
from node.storage.events import History, LifeEvent, RoundEvent, own_peer
from node.storage.run_folder import RunFolder

Role = Literal["swarm", "baseline"]
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class DemoNode:
    """One node process of the demo."""

    number: int
    role: Role
    folder: RunFolder
    process: subprocess.Popen[bytes]

    @property
    def label(self) -> str:
        return f"{'node' if self.role == 'swarm' else 'baseline'} {self.number}"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the demo knows of one member at one moment, all of it read from the member's event store."""

    number: int
    role: Role
    label: str
    peer: str
    rounds: list[RoundEvent]
    evaluated: list[Point]  # held-out rewards
    state: str

    @property
    def first_reward(self) -> float | None:
        """Held-out reward before the first round."""
        return self.evaluated[0].reward if self.evaluated else None

    @property
    def last_reward(self) -> float | None:
        """Held-out reward after the last round; None before it."""
        return self.evaluated[-1].reward if len(self.evaluated) > 1 else None

    @property
    def refused(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for event in self.rounds:
            total.update(event.refused)
        return dict(total)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of rounds: all threads of the node, its transport's process and the daemon."""
        return cpu_seconds(self.rounds)

    def facts(self) -> dict[str, Any]:
        """The figures that scripts rely on; seconds are wall time in rounds, cpu_seconds the transport's too."""
        return {
            "peer": self.peer,
            "role": self.role,
            "rounds": self.rounds[-1].round if self.rounds else 0,
            "first_reward": self.first_reward,
            "last_reward": self.last_reward,
            "published": sum(event.published for event in self.rounds),
            "received": sum(event.received for event in self.rounds),
            "refused": self.refused,
            "trained_external": sum(event.trained_external for event in self.rounds),
            "trained_local": sum(event.trained_local for event in self.rounds),
            "seconds": round(sum(event.seconds for event in self.rounds), 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "transport_cpu_seconds": round(transport_cpu_seconds(self.rounds), 2),
        }


def read_status(member: DemoNode) -> NodeStatus:
    """Reads a member's store; safe while the member writes it."""
    history = History(member.folder.events)
    life = history.life()
    return NodeStatus(
        number=member.number,
        role=member.role,
        label=member.label,
        peer=own_peer(life),
        rounds=history.rounds(),
        evaluated=evaluations_by_cpu(history),
        state=_state(member, life),
    )


def watch(
    members: Sequence[DemoNode], show: Callable[[Sequence[NodeStatus]], None], seconds: float = math.inf
) -> None:
    """Shows the members until none of their processes runs, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while any(member.process.poll() is None for member in members) and time.monotonic() < deadline:
        show([read_status(member) for member in members])
        time.sleep(POLL_SECONDS)


def _state(member: DemoNode, life: Sequence[LifeEvent]) -> str:
    code = member.process.poll()
    stages = [event.what for event in life if event.what in ("started", "resumed", "stopped", "finished")]
    newest = stages[-1] if stages else "starting"
    if code is None:
        return "running" if newest in ("started", "resumed") else newest
    if code == 128 + signal.SIGTERM:
        return "stopped"
    if code == 0 or newest in ("resumed", "stopped", "finished"):
        return newest
    return f"killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
