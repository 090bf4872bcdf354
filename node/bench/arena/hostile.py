"""The hostile peers of an arena: they publish what their attack makes, and keep to the protocol in all else.

They train nothing. An attacker knows the tasks, so it needs no policy to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from node.bench.arena.attacks import Attack, Source
from policies.rollout import Finish, Problem
from policies.seeds import derive_generator, derive_seed
from policies.tasks.task import TRAIN_SEEDS, Task
from swarm.transport.in_memory import MemoryHub
from swarm.wire.announcement import Summary, TaskSummary
from swarm.wire.body import Body, SharedGroup, SharedRollout
from swarm.wire.body_codec import decode_body, encode_body
from swarm.wire.identity import Identity

FIRST_ROUNDS = 3  # whose groups a replay repeats


def honest_address(number: int) -> str:
    """Each honest node, and each attacker with a machine of its own, is in a subnet of its own."""
    return f"/ip4/45.10.{number}.1/tcp/4001"


@dataclass(slots=True)
class Attacker:
    """One identity."""

    peer: str
    address: str
    kept: list[SharedGroup] = field(default_factory=list)  # of its first rounds


def members_of(attack: Attack, seed: int, count: int) -> list[Attacker]:
    """`count` attackers with an address each, or as many as the attack has names, all at one."""
    members = []
    for number in range(attack.names or count):
        identity = Identity(derive_generator(seed, "bench", "arena", "hostile", number).bytes(32))
        members.append(Attacker(identity.peer_id, honest_address(200 if attack.names else 200 + number)))
    return members


@dataclass(slots=True)
class Gang:
    """All hostile identities of one cell."""

    attack: Attack
    hub: MemoryHub
    tasks: Sequence[Task]
    groups: int  # that an identity publishes a round, as honest nodes do
    seed: int
    members: list[Attacker]
    clock: Callable[[], float]

    @property
    def peers(self) -> frozenset[str]:
        return frozenset(member.peer for member in self.members)

    def begin(self, round_number: int) -> None:
        """What they publish before honest nodes look."""
        if self.attack.source is Source.COPIED:
            return
        for place, member in enumerate(self.members):
            random = Random(derive_seed(self.seed, "hostile", round_number, place))
            groups = [self._made(random) for _ in range(self.groups)]
            if self.attack.source is Source.REPLAYED:
                if round_number <= FIRST_ROUNDS:
                    member.kept += groups
                groups = member.kept
            self._offer(member, groups, round_number)

    def copy(self, victim: str, round_number: int) -> None:
        """What they put up right after an honest node has published, where their attack copies."""
        if self.attack.source is not Source.COPIED:
            return
        for place, member in enumerate(self.members):
            theirs = [body for offer, body in self.hub.visible(member.peer) if offer.peer == victim]
            if theirs:
                random = Random(derive_seed(self.seed, "copy", round_number, place, victim))
                groups = decode_body(theirs[0]).groups
                self._offer(member, [self._copied(group, random) for group in groups], round_number)

    def _made(self, random: Random) -> SharedGroup:
        task = self._task(self.attack.task)
        problem = task.problem(random.randrange(TRAIN_SEEDS))
        return self._group(problem, self.attack.texts(problem, random))

    def _copied(self, group: SharedGroup, random: Random) -> SharedGroup:
        task = self._task(group.task)
        problem = task.problem(group.seed)
        places = range(len(group.rollouts))
        wrong_first = sorted(places, key=lambda place: group.rollouts[place].claimed_reward)
        chosen = wrong_first[: round(self.attack.kept * len(places))]
        kept = tuple(group.rollouts[place] for place in sorted(chosen))
        made = self.attack.texts(problem, random) if group.task.startswith(self.attack.task) else []
        added = tuple(SharedRollout(text, Finish.STOP, 1.0) for text in made)
        return SharedGroup(group.task, group.seed, kept + added)

    def _task(self, name: str) -> Task:
        """By its full name, or the part before the @."""
        family = name.partition("@")[0]
        return next(task for task in self.tasks if task.name.partition("@")[0] == family)

    def _group(self, problem: Problem, texts: Sequence[str]) -> SharedGroup:
        rollouts = []
        for text in texts:
            right = text.endswith(problem.answer)
            claim = float(right != self.attack.claims_lie)
            rollouts.append(SharedRollout(text, Finish.STOP, claim))
        return SharedGroup(problem.task, problem.seed, tuple(rollouts))

    def _offer(self, member: Attacker, groups: Sequence[SharedGroup], round_number: int) -> None:
        body = Body(self.hub.swarm, member.peer, "arena", round_number, round_number, tuple(groups))
        wire = encode_body(body)
        named = tuple(TaskSummary(name, body.rollouts, 0.5) for name in sorted({g.task for g in groups}))
        summary = Summary(round_number, round_number, "arena", len(groups), body.rollouts, named)
        self.hub.publish(member.peer, wire, summary, (member.address,), self.clock() - self.attack.age)
