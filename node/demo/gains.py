"""The gains of a demo's swarm: its nodes against their baselines, at equal compute and after as many rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from node.baseline.uplift import PooledUplift, Uplift, difference, pooled
from node.demo.status import NodeStatus


@dataclass(frozen=True, slots=True)
class Gains:
    """Swarm against baselines, over the pairs that finished; None without any."""

    by_compute: PooledUplift | None
    by_rounds: PooledUplift | None

    @classmethod
    def of(cls, statuses: Sequence[NodeStatus], answers: int) -> Gains:
        """An evaluation is of `answers` problems."""
        return cls(pooled(uplifts(statuses, answers)), pooled(uplifts(cut_short(statuses), answers)))

    @property
    def facts(self) -> dict[str, float | None]:
        """For scripts: the difference and its interval at equal compute, then after as many rounds."""
        named = (("uplift", self.by_compute), ("uplift_by_rounds", self.by_rounds))
        return {
            key: figure
            for name, gain in named
            for key, figure in zip(
                (name, f"{name}_low", f"{name}_high"),
                (gain.gain, gain.low, gain.high) if gain else (None,) * 3,
                strict=True,
            )
        }


def uplifts(statuses: Sequence[NodeStatus], answers: int) -> list[Uplift]:
    """Node against baseline for each pair that finished; an evaluation is of `answers`."""
    ended = {(s.role, s.number): s.evaluated[-1] for s in statuses if s.last_reward is not None}
    numbers = [number for role, number in ended if role == "swarm" and ("baseline", number) in ended]
    if not answers:
        return []
    return [difference(ended["swarm", n], ended["baseline", n], answers) for n in numbers]


def cut_short(statuses: Sequence[NodeStatus]) -> list[NodeStatus]:
    """The same with each baseline as it was after as many rounds as its node played."""
    ends = {status.number: status.evaluated[-1:] for status in statuses if status.role == "swarm"}
    last = {number: end[0].round for number, end in ends.items() if end}
    return [
        replace(s, evaluated=[point for point in s.evaluated if point.round <= last.get(s.number, 0)])
        for s in statuses
    ]
