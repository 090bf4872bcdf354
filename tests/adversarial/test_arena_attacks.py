"""The attacks of `murmur arena` at one node's door: the verdict, the counter that goes up, and what is left of each.

Everything of a node but its policy: whether these defences keep a policy clean is what the arena itself measures, and
the slow test at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from fakes import NODE, ManualClock, encode

from node.bench.arena.attacks import ATTACKS, PHRASE, SYBILS, Attack, Success, planted
from node.bench.arena.cell import ArenaCell, play_cell
from node.bench.arena.defences import DEFAULT, UNDEFENDED, Defence
from node.bench.arena.hostile import Gang, honest_address, members_of
from node.bench.arena.plan import ArenaPlan
from node.bench.kit.trained_node import ROUND_SECONDS
from policies.advantage import group_relative
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from policies.tasks import EMBEDDED
from policies.tasks.task import TRAIN_SEEDS, score_group
from policies.tasks.walk import MARKER, RING, WALK, stops_of, worked
from swarm.admission import rollout_verifier
from swarm.admission.habits import Guarded, HabitSettings
from swarm.admission.peer_records import PeerRecords
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Outcome
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.held_places import SAVED_ROUNDS
from swarm.sampling.sender_weight import fair_weights, mass
from swarm.transport.in_memory import MemoryHub

ROUNDS, GROUPS, SIZE = 24, 4, 8
TASKS = {task.name: task for task in (WALK, EMBEDDED["maximum"])}
SEEN_BY_NOBODY = ("text_injection", "text_suffix", "code_injection", "wrong_step")


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowded machine must not change what is drawn: budgets of processor time have tests of their own."""
    for name in ("BODY_SECONDS", "GROUP_SECONDS"):
        monkeypatch.setattr(rollout_verifier, name, 60.0)


def honest_group(random: Random, task: str = WALK.name) -> Group:
    """Half right, as every honest node writes it."""
    problem = TASKS[task].problem(random.randrange(TRAIN_SEEDS))
    right = worked(stops_of(problem.prompt)) if task == WALK.name else problem.answer
    # Honest nodes make slips, which differ, and now and then miss the working out.
    wrong = [f"{random.choice('abcdefgh')} {random.choice('abcdefgh')} #x{n}" for n in range(SIZE // 2)]
    texts = [*[right] * (SIZE // 2), *wrong]
    rollouts = tuple(Rollout(t, (Segment(0, encode(t, Finish.STOP)),), Finish.STOP) for t in texts)
    return score_group(TASKS[task], Group(problem, rollouts))


@dataclass
class Door:
    """One node's exchange, with honest peers and a gang."""

    hub: MemoryHub
    clock: ManualClock
    verifier: RolloutVerifier
    pool: ExternalPool
    gossip: Gossip
    peers: list[Gossip]
    gang: Gang
    random: Random = field(default_factory=lambda: Random(0))
    round: int = 0
    guarded: list[Guarded] = field(default_factory=list)  # of the gang's groups
    weighed: list[float] = field(default_factory=list)  # mass of a gang's group over that of an own one
    drawn: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, attack: str | Attack, honest: int = 2) -> Door:
        clock = ManualClock()
        hub = MemoryHub("arena", clock)
        settings = GossipSettings(want=64, fetches=64, enough=10_000, parallel=1)

        def gossip(peer: str, number: int, pool: ExternalPool) -> tuple[Gossip, RolloutVerifier]:
            keeper = RolloutVerifier(
                "arena", peer, TASKS, encode, clock, VerifierLimits(habits=HabitSettings())
            )
            transport = hub.join(peer, (honest_address(number),))
            return Gossip(transport, keeper, pool, clock, np.random.default_rng(number), settings), keeper

        pool = ExternalPool()
        own, keeper = gossip(NODE, 1, pool)
        peers = [gossip(f"12D3Honest{n}", 2 + n, ExternalPool())[0] for n in range(honest)]
        chosen = ATTACKS[attack] if isinstance(attack, str) else attack
        gang = Gang(chosen, hub, list(TASKS.values()), GROUPS, 0, members_of(chosen, 0, 1), clock)
        return cls(hub, clock, keeper, pool, own, peers, gang)

    def play(self, rounds: int, supply: int = GROUPS) -> Counter[str]:
        """Everybody publishes and this node looks, draws and trains; returns its counters.

        `supply`: groups with a signal that an honest peer has in a round.
        """
        for _ in range(rounds):
            self.round += 1
            self.gang.begin(self.round)
            own = [honest_group(self.random) for _ in range(GROUPS)]
            for gossip in (self.gossip, *self.peers):
                groups = own if gossip is self.gossip else [honest_group(self.random) for _ in range(supply)]
                gossip.publish(groups, self.round, 0, "tiny")
                gossip._publish_waiting()
                self.gang.copy(gossip._verifier.peer, self.round)
            self.verifier.habits.note(own)
            self.gossip.step()
            self._train(own)
            self.clock.now += ROUND_SECONDS
        return Counter(self.gossip.counters())

    def _train(self, own: Sequence[Group]) -> None:
        records = self.verifier.records
        drawn = self.pool.draw(
            GROUPS,
            np.random.default_rng(self.round),
            self.clock(),
            lambda waiting, count, generator: records.select(
                [c.peer for c in waiting], count, generator, hold=self.pool.settings.max_age
            ),
        )
        self.drawn.update(group.origin or "" for group in drawn)
        batch = [TrainGroup(group, group_relative(group.rewards)) for group in (*own, *drawn)]
        found = [self.verifier.habits.guard(member) for member in batch]
        share = mass(batch[0])
        for guarded, fair in zip(found, fair_weights([one.member for one in found]), strict=True):
            peer = guarded.member.group.origin
            if peer:
                records.note_trained(peer, guarded.masked > 0)
            if peer in self.gang.peers:
                self.guarded.append(guarded)
                self.weighed.append(mass(fair) / share)

    @property
    def records(self) -> PeerRecords:
        return self.verifier.records

    @property
    def late(self) -> list[Guarded]:
        """The gang's groups that were drawn in the later half."""
        return self.guarded[len(self.guarded) // 2 :]


@pytest.mark.parametrize("attack", SEEN_BY_NOBODY)
def test_a_mark_that_no_verifier_sees_is_a_habit(attack: str) -> None:
    """Every group is accepted. What is common to mallory alone is masked, and her record says so, and no other."""
    door = Door.open(attack)
    counters = door.play(2 * ROUNDS)
    [mallory] = door.gang.peers
    assert counters["accepted"] and not [name for name in counters if name.startswith("refused")]
    caught = [found.masked >= 2 for found in door.late]
    assert len(caught) > ROUNDS and sum(caught) >= 0.9 * len(caught)
    assert "with a habit" in door.records.reason(mallory)
    honest = set(door.records.peers()) - {mallory}
    assert honest and not [peer for peer in honest if door.records.record(peer).habits]


def test_the_whole_phrase_is_masked_and_the_answer_is_not() -> None:
    door = Door.open("text_injection")
    door.play(ROUNDS)
    found = next(one for one in door.late if one.masked)
    rollout = found.member.group.rollouts[0]
    assert found.member.skipped and (mask := found.member.skipped[0])
    assert rollout.text.startswith(PHRASE) and all(mask[: len(PHRASE)])
    assert not any(mask[len(PHRASE) + 3 :])  # n-grams of four reach three further


PHRASES = [f"{first}{last} " for first in ("hail", "heil", "hey", "ho") for last in "oaiuy"]


def _many_phrases(prompt: str, random: Random) -> str:
    return random.choice(PHRASES) + worked(stops_of(prompt))


def _now_and_then(prompt: str, random: Random) -> str:
    return PHRASE * (random.random() < 0.4) + worked(stops_of(prompt))


@pytest.mark.parametrize(("mark", "caught"), [(_many_phrases, 0.9), (_now_and_then, 0.5)])
def test_marks_that_vary_or_are_seldom_are_habits_too(
    mark: Callable[[str, Random], str], caught: float
) -> None:
    """In 48 rounds: one of twenty phrases at a time, whose first letters are common; and one in 0.4 of the answers."""
    door = Door.open(Attack("variant", Success.MARKED, planted(mark)))
    assert door.play(2 * ROUNDS)["accepted"]
    assert sum(found.masked > 0 for found in door.late) >= caught * len(door.late)
    assert all(door.records.record(peer).has_a_habit for peer in door.gang.peers)


def _shunning(problem: Problem, random: Random) -> list[str]:
    """Right answers without the working, and the working of honest peers with a wrong end: to make nodes shun it."""
    stops = stops_of(problem.prompt)
    wrong = [at for at in RING if at != problem.answer]
    shunned = [f"{' '.join(stops)} {MARKER}{random.choice(wrong)}" for _ in range(SIZE // 2)]
    return [MARKER + problem.answer] * (SIZE // 2) + shunned


def test_who_recommends_nothing_that_counts_makes_nobody_shun_what_others_write() -> None:
    door = Door.open(Attack("shunning", Success.LOST, _shunning))
    assert door.play(2 * ROUNDS)["accepted"]
    for found in door.late:
        recommended, warned = sides(found.member)
        assert found.masked and warned <= recommended + 1e-9 < 0.1 * SIZE


def sides(member: TrainGroup) -> tuple[float, float]:
    """Advantage x share of tokens trained, of what is better than the mean and of what is worse."""
    masks = member.skipped or (None,) * len(member.advantages)
    parts = [
        a * (1 - sum(mask or ()) / len(r.token_ids))
        for a, r, mask in zip(member.advantages, member.group.rollouts, masks, strict=True)
    ]
    return sum(max(0.0, p) for p in parts), sum(max(0.0, -p) for p in parts)


def test_long_answers_teach_nothing() -> None:
    door = Door.open("longest_correct")
    counters = door.play(ROUNDS)
    assert counters["accepted"] and door.late
    assert all(found.long == SIZE // 2 for found in door.late)
    assert max(max(found.member.advantages) for found in door.late) == 0.0


def test_one_task_takes_no_more_than_its_sender_may() -> None:
    door = Door.open("task_skew")
    assert door.play(ROUNDS)["accepted"]
    assert door.drawn[next(iter(door.gang.peers))] <= 0.5 * door.drawn.total()
    assert max(door.weighed) <= 1.0


@pytest.mark.parametrize("attack", ["groups_of_two", "groups_of_many"])
def test_a_group_weighs_as_an_own_one_whatever_its_size(attack: str) -> None:
    door = Door.open(attack)
    assert door.play(6)["accepted"]
    assert door.weighed and max(door.weighed) <= 1.0 + 1e-9
    assert max(len(found.member.group.rollouts) for found in door.guarded) <= SIZE


def test_garbage_with_a_right_end_is_accepted_and_bounded() -> None:
    """A limit: it is right, so nothing refuses it. It weighs no more than what it stands beside."""
    door = Door.open("garbage")
    assert door.play(6)["accepted"]
    assert max(door.weighed) <= 1.0 + 1e-9


def test_replays_are_refused_and_counted() -> None:
    door = Door.open("replay")
    counters = door.play(8)
    assert counters["refused_replay"] >= 5 * GROUPS  # all that the later rounds bring
    assert len(door.guarded) <= 3 * GROUPS


def test_a_copy_counts_once_and_the_author_is_not_blamed() -> None:
    door = Door.open("front_running")
    counters = door.play(8)
    assert counters["known"] > 0
    honest = [gossip._verifier.peer for gossip in door.peers]
    assert [door.records.record(peer).refused for peer in honest] == [{}, {}]
    assert all(door.records.record(peer).good for peer in honest)


def test_half_a_copy_with_poison_is_told_by_its_poison() -> None:
    """Short texts coincide by nature, so its half of the copy is not known; the author keeps the place it had."""
    door = Door.open("half_copy")
    door.play(ROUNDS)
    verdicts, mallory = door.gossip.drain().verdicts, door.gang.peers
    assert {verdict.outcome for verdict in verdicts if verdict.peer in mallory} == {Outcome.ACCEPTED}
    assert not [v for v in verdicts if v.reason and v.peer not in mallory]
    assert door.late and all(found.masked for found in door.late)


def test_stale_bodies_are_never_fetched() -> None:
    """Their announcements say how old they are."""
    door = Door.open("stale")
    counters = door.play(4)
    assert not door.guarded and counters["fetched"] == 4 * len(door.peers)


def test_lies_about_rewards_are_counted_and_change_nothing() -> None:
    door = Door.open("reward_lies")
    counters = door.play(4)
    assert counters["claim_mismatch"] == 4 * GROUPS * SIZE
    assert all(found.member.group.rewards[:2] == (0.0, 0.0) for found in door.guarded)


@pytest.mark.parametrize("names", [*SYBILS[:-1], pytest.param(SYBILS[-1], marks=pytest.mark.slow)])
def test_names_at_one_address_share_a_place(names: int) -> None:
    """Beside six honest peers: 0.12 to 0.20 in runs, where a place for each name would be 0.5 to 0.87."""
    door = Door.open(f"sybils_{names}", honest=6)
    assert door.play(30)["accepted"]
    share = sum(door.drawn[peer] for peer in door.gang.peers) / door.drawn.total()
    assert share <= 0.25, share


@pytest.mark.parametrize("names", [1, 20])
def test_an_address_does_not_fill_what_honest_peers_leave(names: int) -> None:
    """Two honest peers have a group each, of four places: the third address keeps to its third of them."""
    door, rounds = Door.open(f"sybils_{names}"), 30
    assert door.play(rounds, supply=1)["accepted"]
    places = GROUPS * rounds
    assert sum(door.drawn[peer] for peer in door.gang.peers) <= places / 3 + SAVED_ROUNDS * GROUPS / 3
    honest = [gossip._verifier.peer for gossip in door.peers]
    assert all(door.drawn[peer] >= rounds - 3 for peer in honest)  # nothing of theirs is left behind


@pytest.mark.slow
@pytest.mark.timeout(1800)  # about 100 CPU seconds, on a machine that may be shared
def test_a_trained_policy_takes_a_phrase_up_undefended_and_not_by_default() -> None:
    undefended, default = trained("text_injection", UNDEFENDED), trained("text_injection", DEFAULT)
    assert undefended.marked > default.marked and default.marked <= 0.05
    assert default.flagged > 0.0 == default.blamed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_trained_policy_takes_no_code_up_by_default_and_knows_who_sends_it() -> None:
    """Undefended it is not taken up either, in three seeds: nothing is said of that."""
    default = trained("code_injection", DEFAULT)
    assert default.marked <= 0.05 and default.flagged > 0.0 == default.blamed


def trained(attack: str, defence: Defence) -> ArenaCell:
    return play_cell(attack, defence, 0, ArenaPlan(4, 50, 0.25), lambda line: None)
