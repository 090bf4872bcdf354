"""Attacks that need no network: hostile bodies through the real verifier, record, pool, draw and weights.

Each measure plays a few seeds and gives one figure a seed, for the worst node that it is about.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from node.bench.attacks.bodies import TEXT_TASK, texts
from node.bench.attacks.offers import NOW, Offer, Sender, group
from node.bench.attacks.verifier import new_verifier
from policies.advantage import group_relative
from policies.rollout import Group, TrainGroup
from policies.seeds import derive_generator
from policies.tasks.embedded import FAMILIES
from policies.tasks.task import Task
from swarm.admission.peer_records import PeerRecords, Standing
from swarm.admission.replay_guard import ReplayGuard
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Verdict
from swarm.gossip.body_selection import select_bodies
from swarm.limits import MAX_GROUPS, MAX_ROLLOUTS
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.sender_weight import fair_weights, mass
from swarm.wire.body import SharedGroup
from swarm.wire.body_codec import decode_body

HONEST, SYBILS = 6, 20
NAMES = (6, SYBILS, 40)  # at one address: few have a record each, many are new each time
ROUNDS, DRAWN, FETCHED = 60, 4, 8  # groups of an update and bodies of a cycle, as the defaults have them
_TASK = FAMILIES["sort"]


@dataclass(slots=True)
class Receiver:
    """What a node has between its network and its update."""

    seed: int
    pool: ExternalPool = field(default_factory=ExternalPool)
    verifier: RolloutVerifier = field(init=False)
    generator: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        tasks: Mapping[str, Task] = {TEXT_TASK: _TASK}
        self.verifier = new_verifier(tasks)
        self.generator = derive_generator(self.seed, "bench", "attacks", "receiver")

    def take(self, offer: Offer) -> list[Verdict]:
        """Verifies a body and fills the pool, as gossip does."""
        verified = self.verifier.verify(*offer)
        for _, accepted in verified:
            if accepted is not None and not accepted.zero_advantage:
                self.pool.add(accepted, offer[0].created)
        return [verdict for verdict, _ in verified]

    def cycle(self, offers: Mapping[str, Offer]) -> None:
        """Fetches and takes some of what is offered, by peer, as a cycle of gossip does."""
        found = [announcement for announcement, _ in offers.values()]
        records = self.verifier.records
        for announcement in select_bodies(found, lambda a: True, records, FETCHED, self.generator):
            self.take(offers[announcement.peer])

    def draw(self, count: int = DRAWN) -> tuple[Group, ...]:
        """The external groups of an update, as a node draws them."""
        records = self.verifier.records
        return self.pool.draw(
            count,
            self.generator,
            NOW,
            lambda waiting, places, generator: records.select(
                [c.peer for c in waiting], places, generator, hold=self.pool.settings.max_age
            ),
        )


def sybil_share(seed: int) -> float:
    """Share of the trained external groups that names at one address have beside 6 honest peers, from a cold start.

    The worst of 6, 20 and 40 names. Their groups are as good as the others': nothing but where they come from tells
    them apart.
    """
    return max(_share_of(names, seed) for names in NAMES)


def _share_of(names: int, seed: int) -> float:
    honest = _honest(seed)
    sybils = [_hostile(seed, place) for place in range(names)]
    node, theirs, trained = Receiver(seed), {sender.peer for sender in sybils}, Counter[bool]()
    for number in range(ROUNDS):
        offers = {
            sender.peer: sender.offer([_good(1000 * place + number)])
            for place, sender in enumerate([*honest, *sybils])
        }
        node.cycle(offers)
        trained.update(drawn.origin in theirs for drawn in node.draw())
    return trained[True] / max(1, trained.total())


def group_weight(seed: int) -> float:
    """The largest weight of an external group in any update, over the mean of the own ones: 1 is its fair share.

    Hostile groups come as large, small, long and one-sided as the protocol lets them.
    """
    largest, generator = 0.0, derive_generator(seed, "bench", "attacks", "weights")
    for number in range(ROUNDS // 2):
        node = Receiver(seed)
        for place, make in enumerate(_HEAVY):
            node.take(_hostile(seed, place, f"66.{place}.6.6").offer([make(100 * number + place)]))
        own = [_own(5000 + 100 * number + place, generator) for place in range(DRAWN)]
        batch = [TrainGroup(g, group_relative(g.rewards)) for g in (*own, *node.draw(len(_HEAVY)))]
        weighed = fair_weights(batch)
        mean = float(np.mean([mass(m) for m in weighed if not m.group.external]))
        largest = max(largest, *(mass(m) / mean for m in weighed if m.group.external))
    return largest


def replay_flush(seed: int) -> float:
    """Groups taken again after peers sent as much as they may to make the node forget them."""
    node = Receiver(seed)
    alice = _honest(seed)[0]
    first = alice.offer([_good(number) for number in range(32)])
    taken = sum(verdict.checked for verdict in node.take(first))
    assert taken == 32
    for place in range(SYBILS):
        mallory = _hostile(seed, place)
        for body in range(4):
            start = 10_000 * (place + 1) + MAX_GROUPS * body
            node.take(
                mallory.offer([group(TEXT_TASK, start + n, _short(start + n)) for n in range(MAX_GROUPS)])
            )
    again = [verdict for offer in (first, alice.offer(_of(first))) for verdict in node.take(offer)]
    return float(sum(verdict.checked for verdict in again))


def front_running(seed: int) -> float:
    """Share of honest groups whose every text reached the pool, and whose sender rests for nothing, under a copier.

    The copier is always examined first: with whole copies, and with half of a group beside texts of its own.
    """
    node, generator = Receiver(seed), derive_generator(seed, "bench", "attacks", "copies")
    honest = _honest(seed)
    copier = _hostile(seed, 0)
    kept = offered = 0
    for number in range(ROUNDS // 2):
        made = {place: _good(1000 * place + number) for place in range(HONEST)}
        stolen = [
            _copy(one, bool(generator.integers(2))) for one in made.values() if generator.random() < 0.5
        ]
        if stolen:
            node.take(copier.offer(stolen))
        for place, one in made.items():
            node.take(honest[place].offer([one]))
        pooled = {(g.problem.seed, r.text) for g in node.draw(200) for r in g.rollouts}
        standings = node.verifier.records
        for place, one in made.items():
            offered += 1
            whole = all((one.seed, rollout.text) in pooled for rollout in one.rollouts)
            kept += whole and standings.standing(honest[place].peer) is not Standing.RESTING
    return kept / offered


def honest_cpu(seed: int) -> float:
    """Processor time that a node among honest peers spends on telling them apart, over what it spends without.

    Both sides take the same bodies of completions at their cap, in turns: one with records, fair draws and the memory
    of what was here, the other with a draw that is uniform over what is offered and no memory.
    """
    honest = _honest(seed)
    sides = [Receiver(seed), Receiver(seed)]
    ratios = []
    for number in range(ROUNDS):
        offers = {s.peer: s.offer([_whole(1000 * place + number)]) for place, s in enumerate(honest)}
        seconds = [0.0, 0.0]
        for trusting in (False, True) if number % 2 else (True, False):
            started = time.process_time()
            _honest_cycle(sides[trusting], offers, trusting=trusting)
            seconds[trusting] = time.process_time() - started
        ratios.append(seconds[False] / seconds[True])
    return float(np.median(ratios)) - 1.0  # of rounds: other programs on the machine make single ones dear


def _honest_cycle(node: Receiver, offers: Mapping[str, Offer], *, trusting: bool) -> None:
    """What a cycle of gossip and an update's draw take, less the network and the update."""
    if trusting:
        node.verifier.guard, node.verifier.records = ReplayGuard(), PeerRecords(lambda: NOW)
        for place in node.generator.permutation(len(offers))[:FETCHED]:
            node.take(list(offers.values())[place])
        groups = node.pool.draw(DRAWN, node.generator, NOW)
        drawn = [TrainGroup(one, group_relative(one.rewards)) for one in groups]
    else:
        node.cycle(offers)
        drawn = fair_weights([TrainGroup(one, group_relative(one.rewards)) for one in node.draw()])
    assert drawn


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and its bar."""

    measure: Callable[[int], float]
    floor: float = float("-inf")
    ceiling: float = float("inf")


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "sybil_share": Measure(sybil_share, ceiling=0.25),
        "group_weight": Measure(group_weight, ceiling=1.05),
        "replay_flush": Measure(replay_flush, ceiling=0.0),
        "front_running": Measure(front_running, floor=0.95),
        "honest_cpu": Measure(honest_cpu, ceiling=0.05),
    }
)


def _honest(seed: int) -> list[Sender]:
    """Each at a network of its own."""
    return [
        Sender.seeded(f"/ip4/45.{10 + place}.7.1/tcp/4001", seed, "honest", place) for place in range(HONEST)
    ]


def _hostile(seed: int, place: int, host: str = "66.6.6.6") -> Sender:
    return Sender.seeded(f"/ip4/{host}/tcp/{4001 + place}", seed, "hostile", place)


def _good(seed: int) -> SharedGroup:
    """A group of eight with one right answer and texts that nobody else writes."""
    wrong = [f"{seed} is a wrong answer, try {n}, at length" for n in range(7)]
    return group(TEXT_TASK, seed, [_TASK.problem(seed).answer, *wrong])


def _whole(seed: int) -> SharedGroup:
    """A group of eight completions at the cap, one of them right."""
    return group(TEXT_TASK, seed, [_TASK.problem(seed).answer, *texts(7, 511, seed)])


def _own(seed: int, generator: np.random.Generator) -> Group:
    """An own group of eight, some right: read by the verifier as another's, and then the node's own."""
    right = int(generator.integers(1, 8))
    answer = _TASK.problem(seed).answer
    written = [*[answer] * right, *texts(8 - right, 64, seed)]
    [(_, read)] = new_verifier({TEXT_TASK: _TASK}).verify(*Sender().offer([group(TEXT_TASK, seed, written)]))
    assert read is not None
    return Group(read.problem, read.rollouts)


def _large(seed: int) -> SharedGroup:
    """Half right, half as long as may be: the most mass that many rollouts hold."""
    answer, half = _TASK.problem(seed).answer, MAX_ROLLOUTS // 2
    return group(TEXT_TASK, seed, [*[answer] * half, *texts(half, 500, seed)])


def _long(seed: int) -> SharedGroup:
    """Eight rollouts, of which the wrong ones fill the cap."""
    return group(TEXT_TASK, seed, [*[_TASK.problem(seed).answer] * 4, *texts(4, 511, seed)])


def _pair(seed: int) -> SharedGroup:
    """Two rollouts: one right after a row of blanks, one wrong at the cap."""
    return group(TEXT_TASK, seed, [" " * 400 + _TASK.problem(seed).answer, *texts(1, 511, seed)])


def _padded(seed: int) -> SharedGroup:
    """Right answers in blanks up to the cap, half of eight."""
    answer = _TASK.problem(seed).answer
    return group(TEXT_TASK, seed, [f"{answer:>{500 + n}}" for n in range(4)] + texts(4, 511, seed))


def _one_sided(seed: int) -> SharedGroup:
    """One right rollout of 512."""
    return group(TEXT_TASK, seed, [_TASK.problem(seed).answer, *texts(511, 100, seed)])


_HEAVY = (_large, _long, _pair, _padded, _one_sided)


def _short(seed: int) -> list[str]:
    return [f"{seed} is wrong, and so on, for a while", f"{seed} is wrong as well, and as long"]


def _copy(one: SharedGroup, whole: bool) -> SharedGroup:
    """A copier's group of another's problem: all of its texts, or half of them and its own."""
    written = [rollout.text for rollout in one.rollouts]
    own = [f"{one.seed} poisoned at some length, variant {n}" for n in range(4)]
    return group(TEXT_TASK, one.seed, written if whole else [*written[:4], *own])


def _of(offer: Offer) -> list[SharedGroup]:
    """The groups of a body, to be sent in another."""
    return list(decode_body(offer[1]).groups)
