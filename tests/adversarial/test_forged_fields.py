"""Attacks 1 and 5: mallory alters a body, or signs one that contradicts itself. Bar: none accepted."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from fakes import (
    ALICE,
    BOB,
    MALLORY,
    NODE,
    Addition,
    announce,
    body,
    body_of,
    group,
    offer,
    shared_group,
    verifier,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.tasks.task import HELD_OUT_SEED, MAX_SEED
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome
from swarm.wire.body import Body
from swarm.wire.body_codec import encode_body

HONEST = body([group(1), group(2)], BOB)
ANNOUNCEMENT, WIRE = offer(HONEST)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(WIRE) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_body_altered_on_the_way_is_refused(flips: list[tuple[int, int]]) -> None:
    altered = bytearray(WIRE)
    for position, mask in flips:
        altered[position] ^= mask
    verdicts = [verdict for verdict, _ in verifier().verify(ANNOUNCEMENT, bytes(altered))]
    if bytes(altered) != WIRE:  # two flips may undo each other
        assert [verdict.reason for verdict in verdicts] == [Reason.DIGEST]


@settings(max_examples=500)
@given(st.integers(0, len(WIRE) - 1), st.integers(1, 255))
def test_damage_that_its_announcement_covers_gives_no_other_groups(position: int, mask: int) -> None:
    """Mallory signs whatever she likes: what gets through must be the very groups that bytes stood for."""
    altered = bytearray(WIRE)
    altered[position] ^= mask
    verified = verifier().verify(announce(HONEST, bytes(altered)), bytes(altered))
    accepted = [rebuilt for _, rebuilt in verified if rebuilt is not None]
    assert accepted in ([], [rebuilt for _, rebuilt in verifier().verify(ANNOUNCEMENT, WIRE)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"swarm": "another"}, Reason.SWARM),
        ({"sender": MALLORY}, Reason.SENDER),
        ({"sender": NODE}, Reason.SENDER),
        ({"fingerprint": "another"}, Reason.SUMMARY),
        ({"policy_version": 99}, Reason.SUMMARY),
        ({"round": 99}, Reason.SUMMARY),
        ({"groups": HONEST.groups[:1]}, Reason.SUMMARY),
        ({"groups": HONEST.groups * 2}, Reason.SUMMARY),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_each_field_is_bound_to_the_announcement(change: dict[str, object], reason: Reason) -> None:
    forged = encode_body(replace(HONEST, **change))
    [(verdict, rebuilt)] = verifier().verify(announce(HONEST, forged), forged)
    assert (verdict.outcome, verdict.reason, rebuilt) == (Outcome.REFUSED, reason, None)


def test_bobs_body_under_mallorys_name_is_refused_and_still_taken_from_bob() -> None:
    keeper = verifier()
    [(stolen, _)] = keeper.verify(replace(ANNOUNCEMENT, peer=MALLORY), WIRE)
    assert stolen.reason is Reason.SENDER
    assert [verdict.outcome for verdict, _ in keeper.verify(ANNOUNCEMENT, WIRE)] == [Outcome.ACCEPTED] * 2


def test_a_prompt_cannot_be_altered_because_it_does_not_travel() -> None:
    assert b"+ 1 =" not in encode_body(body([group(41)], BOB))
    [(_, rebuilt)] = verifier().verify(*offer(body([group(41)], BOB)))
    assert rebuilt is not None
    assert rebuilt.problem == Addition().problem(41)


def test_a_right_answer_under_another_seed_is_a_wrong_answer() -> None:
    moved = body_of([shared_group(9, ("it is 8", 1.0), ("it is 10", 0.0))], MALLORY)
    [(_, rebuilt)] = verifier().verify(*offer(moved))
    assert rebuilt is not None
    assert rebuilt.rewards == (0.25, 1.0)


@pytest.mark.parametrize(
    ("seed", "reason"),
    [
        (HELD_OUT_SEED, Reason.HELD_OUT),
        (HELD_OUT_SEED + 5, Reason.HELD_OUT),
        (MAX_SEED, Reason.HELD_OUT),
        (MAX_SEED + 1, Reason.DECODE),
        (-1, Reason.DECODE),
        (2**63, Reason.DECODE),
    ],
)
def test_problems_that_a_node_is_judged_by_are_refused(seed: int, reason: Reason) -> None:
    forged = body_of([shared_group(seed, ("it is 8", 1.0))], MALLORY)
    [(verdict, group)] = verifier().verify(*offer(forged))
    assert (verdict.reason, group) == (reason, None) and verdict.label == f"refused_{reason.value}"


NAMES = ["addition@2", "Addition@1", "addition@1#00000000", "rg:__import__@1"]
UNPRINTABLE = [
    "addition@1 ",
    "../addition@1",
    "addit\u0456on@1",
    "addition@1\0",
    "\x1b[31maddition@1",
    "a" * 10_000,
    "addition@1\n",
]


@pytest.mark.parametrize("task", NAMES)
def test_tasks_that_only_look_like_the_swarms_are_refused(task: str) -> None:
    [(verdict, _)] = verifier().verify(
        *offer(body_of([shared_group(7, ("it is 8", 1.0), task=task)], MALLORY))
    )
    assert verdict.reason is Reason.TASK


@pytest.mark.parametrize("task", UNPRINTABLE, ids=ascii)
def test_names_that_cannot_be_shown_do_not_even_reach_a_verdict(task: str) -> None:
    [(verdict, _)] = verifier().verify(
        *offer(body_of([shared_group(7, ("it is 8", 1.0), task=task)], MALLORY))
    )
    assert (verdict.reason, verdict.task) == (Reason.DECODE, "")
    assert set(verdict.detail) <= set(string.printable) - set("\n\r\t\x0b\x0c")


def test_no_peer_is_believed_about_another_one() -> None:
    """A body of alice beside one of bob: each verdict names the peer whose announcement it came under."""
    keeper = verifier()
    for peer in (ALICE, BOB):
        sent: Body = body([group(ord(peer[4]))], peer)
        [(verdict, rebuilt)] = keeper.verify(*offer(sent))
        assert rebuilt is not None
        assert (verdict.peer, rebuilt.origin) == (peer, peer)
