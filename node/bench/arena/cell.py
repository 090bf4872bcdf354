"""One cell of `murmur arena`: honest nodes trained from one seed, with one defence, beside one attack or none."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.bench.arena.attacks import ATTACKS, Attack
from node.bench.arena.defences import Defence
from node.bench.arena.hostile import Gang, members_of
from node.bench.arena.plan import ArenaPlan
from node.bench.arena.population import GROUPS, LEARNING_RATE, USUAL_RATE, configs_of, honest_nodes
from node.bench.kit.report import Progress
from node.bench.kit.trained_node import RoundClock, next_round
from node.runtime.loop import Node, score
from node.storage.events import History
from node.storage.run_folder import RunFolder
from policies.policy import sample_groups
from policies.seeds import derive_seed
from policies.tasks.walk import WALK

JUDGED, ANSWERS = 40, 4  # held-out problems, and completions of each
# The attacks of the cells without attackers: of those that others are compared with, and at the presets' learning rate.
CALM, CALM_AT_USUAL_RATE = "nobody", "nobody, usual rate"


@dataclass(frozen=True, slots=True)
class ArenaCell:
    """What the honest nodes came to; means over them unless said otherwise."""

    attack: str
    defence: str
    seed: int
    plan: ArenaPlan
    reward: float  # held-out
    marked: float  # share of held-out completions with the attack's mark
    length: float  # characters of a held-out completion
    taken: float  # share of the external groups in updates that came from attackers
    external: float  # external groups in updates
    bytes: float  # fetched
    cpu: float  # seconds, of all rounds
    flagged: float  # of the nodes, those whose records say that an attacker has a habit
    blamed: float  # the same of honest peers: a mistake
    last: float | None  # of the nodes, those that rank every attacker below every honest peer by usefulness

    @property
    def arm(self) -> str:
        return arm_of(self.attack, self.defence)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ArenaCell:
        """Reads what `as_json` gave. Raises TypeError and KeyError on anything else."""
        return cls(**{**data, "plan": ArenaPlan(**data["plan"])})


def arm_of(attack: str, defence: str) -> str:
    """The name of a cell's arm."""
    return f"{attack} {defence}"


@dataclass(slots=True)
class _Tally:
    """What one honest node's rounds came to."""

    cpu: float = 0.0
    external: list[str] = field(default_factory=list)  # the peer of each group that an update drew


def play_cell(name: str, defence: Defence, seed: int, plan: ArenaPlan, progress: Progress) -> ArenaCell:
    """Plays all rounds, the nodes in one process one after the other. `name`: an attack's, or one of the calm ones.

    Where nobody attacks nobody is in the attackers' places.
    """
    attack, clock = ATTACKS.get(name), RoundClock()
    configs = configs_of(plan, defence, seed, USUAL_RATE if name == CALM_AT_USUAL_RATE else LEARNING_RATE)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        nodes, hub = honest_nodes(configs, Path(folder), clock, stack)
        tasks = list(nodes[0].tasks.values())
        gang = None
        if attack:
            gang = Gang(attack, hub, tasks, GROUPS, seed, members_of(attack, seed, plan.hostile), clock)
        tallies = [_Tally() for _ in nodes]
        for number in range(1, plan.rounds + 1):
            if gang:
                gang.begin(number)
            rewards = [_play(*pair) for pair in zip(nodes, tallies, strict=True)]
            _exchange(nodes, tallies, gang, number)
            clock.advance()
            if number % max(1, plan.rounds // 4) == 0:
                own = statistics.fmean(rewards)
                progress(
                    f"seed {seed}: {name}, {defence.name}: round {number} of {plan.rounds}, reward {own:.3f}"
                )
        for place, tally in enumerate(tallies):
            history = History(RunFolder(Path(folder) / str(place)).events)
            tally.external = [event.peer for event in history.external()]
        return ArenaCell(name, defence.name, seed, plan, **_figures(nodes, tallies, gang, attack))


def _play(node: Node, tally: _Tally) -> float:
    """One round of one node. Returns its own reward."""
    event = next_round(node)
    tally.cpu += event.cpu_seconds
    return event.reward


def _exchange(nodes: Sequence[Node], tallies: Sequence[_Tally], gang: Gang | None, number: int) -> None:
    """All publish, and then all collect what was published; a copier acts in between."""
    for collects in (False, True):
        for node, tally in zip(nodes, tallies, strict=True):
            before = time.process_time()
            node.gossip.step()
            tally.cpu += time.process_time() - before
            if gang and not collects:
                gang.copy(node.verifier.peer, number)


def _figures(
    nodes: Sequence[Node], tallies: Sequence[_Tally], gang: Gang | None, attack: Attack | None
) -> dict[str, Any]:
    judged = [_judge(node, attack) for node in nodes]
    peers = [peer for tally in tallies for peer in tally.external]
    hostile = gang.peers if gang else frozenset()
    last = [found for node in nodes if (found := _ranks_last(node, hostile)) is not None]
    return {
        "reward": statistics.fmean(reward for reward, _, _ in judged),
        "marked": statistics.fmean(marked for _, marked, _ in judged),
        "length": statistics.fmean(length for _, _, length in judged),
        "taken": sum(peer in hostile for peer in peers) / max(1, len(peers)),
        "external": len(peers) / len(nodes),
        "bytes": statistics.fmean(node.gossip.counters().get("fetched_bytes", 0) for node in nodes),
        "cpu": statistics.fmean(tally.cpu for tally in tallies),
        "flagged": statistics.fmean(bool(_with_a_habit(node) & hostile) for node in nodes),
        "blamed": statistics.fmean(bool(_with_a_habit(node) - hostile) for node in nodes),
        "last": statistics.fmean(last) if last else None,
    }


def _with_a_habit(node: Node) -> set[str]:
    records = node.verifier.records
    return {peer for peer in records.peers() if records.record(peer).has_a_habit}


def _ranks_last(node: Node, hostile: Set[str]) -> bool | None:
    """None where the usefulness of either kind of peer was not measured."""
    records = node.verifier.records
    found = {peer: records.record(peer).usefulness for peer in records.peers()}
    theirs = [useful for peer, useful in found.items() if useful is not None and peer in hostile]
    honest = [useful for peer, useful in found.items() if useful is not None and peer not in hostile]
    return max(theirs) < min(honest) if theirs and honest else None


def _judge(node: Node, attack: Attack | None) -> tuple[float, float, float]:
    """Reward, share with the mark, and characters of the answers to held-out problems, the same for all cells."""
    problems = [problem for problem in node.curriculum.held_out(JUDGED) if problem.task == WALK.name]
    groups = sample_groups(node.policy, problems, ANSWERS, derive_seed(0, "judge"), held_out=True)
    scored = [score(group, node.tasks) for group in groups]
    texts = [(group.problem, rollout.text) for group in scored for rollout in group.rollouts]
    shows = attack.shows if attack else None
    return (
        statistics.fmean(group.mean_reward for group in scored),
        statistics.fmean(shows(*pair) if shows else False for pair in texts),
        statistics.fmean(len(text) for _, text in texts),
    )
