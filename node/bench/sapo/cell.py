"""One cell of `murmur bench sapo`: what a population came to in one arm from one seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from node.bench.kit.trained_node import HeldOutScore
from node.bench.sapo.population import PopulationPlan


@dataclass(slots=True)
class NodeCourse:
    """One node's run. Lists have one entry a round."""

    end: HeldOutScore
    rewards: list[float] = field(default_factory=list)  # mean of the own rollouts
    update_rewards: list[float] = field(default_factory=list)  # of the update's groups, imported too: means
    cpu: list[float] = field(default_factory=list)  # seconds, exchange and verification included
    tokens: list[int] = field(default_factory=list)  # sampled
    generated: int = 0  # groups
    telling: int = 0  # groups of the updates that had a signal
    external: int = 0  # groups of peers in the updates
    missing: int = 0  # groups of peers that were wanted and not there

    def rest(self) -> None:
        """A round that a slow node does not play: its policy is as good as it was, and nothing is spent."""
        for figures in (self.rewards, self.update_rewards):
            figures.append(figures[-1] if figures else 0.0)
        self.cpu.append(0.0)
        self.tokens.append(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one arm came to in one seed."""

    arm: str  # the key of the arm; its name in a report
    seed: int
    plan: PopulationPlan
    nodes: list[NodeCourse]

    def as_json(self) -> dict[str, Any]:
        """Plain values, six digits each: cells lie in the repository."""
        short: dict[str, Any] = _short(asdict(self))
        return short

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Reads what `as_json` gave. Raises TypeError and KeyError on anything else."""
        nodes = [NodeCourse(**{**node, "end": HeldOutScore(**node["end"])}) for node in data["nodes"]]
        return cls(data["arm"], data["seed"], PopulationPlan(**data["plan"]), nodes)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
