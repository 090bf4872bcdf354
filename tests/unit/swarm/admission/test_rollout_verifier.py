"""The rollout verifier: what of an unknown peer's body becomes a group, and why the rest does not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from fakes import (
    ALICE,
    BOB,
    END,
    NODE,
    START,
    SWARM,
    Addition,
    ManualClock,
    announce,
    body,
    body_of,
    encode,
    group,
    offer,
    shared_group,
    verifier,
)
from slow_work import Work

from policies.rollout import Finish, Problem
from swarm.admission.group_reader import RETOKENIZED
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import (
    BODY_SECONDS,
    MAX_REFUSALS,
    SECONDS_A_GROUP,
    RolloutVerifier,
    VerifierLimits,
)
from swarm.admission.verdict import Outcome, Verdict
from swarm.limits import CLOCK_SKEW, MAX_BODY


def test_an_accepted_group_is_rebuilt_by_this_node() -> None:
    [(verdict, accepted)] = verifier().verify(*offer(body([group(7)], ALICE)))
    assert verdict == Verdict(Outcome.ACCEPTED, ALICE, "addition@1", 7, 2, mean_reward=0.625)
    assert accepted is not None
    assert accepted.problem == Addition().problem(7)
    assert accepted.origin == ALICE
    assert accepted.rewards == (1.0, 0.25)
    first = accepted.rollouts[0]
    assert first.segments[0].policy_version == RETOKENIZED
    assert first.token_ids == (*map(ord, "it is 8"), END)
    assert first.logprobs is None


def test_a_group_of_equal_rewards_passes_but_is_set_aside() -> None:
    [(verdict, aside)] = verifier().verify(*offer(body([group(7, ["it is 8", "surely 8"])], ALICE)))
    assert (verdict.outcome, verdict.reason, verdict.mean_reward) == (Outcome.SET_ASIDE, None, 1.0)
    assert aside is not None
    assert aside.zero_advantage


def test_own_records_are_ignored() -> None:
    assert verifier().verify(*offer(body([group(7)], NODE))) == []


def test_false_claims_are_counted_in_the_verdict() -> None:
    lies = body_of([shared_group(7, ("it is 8", 0.0), ("it is 9", 1.0), ("no", 0.0))], ALICE)
    [(verdict, _)] = verifier().verify(*offer(lies))
    assert (verdict.outcome, verdict.claim_mismatches) == (Outcome.ACCEPTED, 2)


def refusal(*verified: tuple[Verdict, object]) -> Reason | None:
    [(verdict, rebuilt)] = verified
    assert verdict.outcome is Outcome.REFUSED
    assert rebuilt is None
    return verdict.reason


def test_a_body_of_another_size_or_digest_than_announced_is_refused() -> None:
    announcement, wire = offer(body([group(7)], ALICE))
    flipped = bytes([*wire[:-1], wire[-1] ^ 1])
    assert refusal(*verifier().verify(announcement, wire + b"x")) is Reason.SIZE
    assert refusal(*verifier().verify(announcement, flipped)) is Reason.DIGEST


def test_a_body_over_the_limit_is_refused_before_it_is_hashed_or_decoded() -> None:
    wire = bytes(MAX_BODY + 1)
    announcement = announce(body([group(7)], ALICE), wire, digest=bytes(32))
    assert refusal(*verifier().verify(announcement, wire)) is Reason.SIZE


def test_bytes_that_are_no_body_are_refused() -> None:
    announcement = announce(body([group(7)], ALICE), b"junk")
    assert refusal(*verifier().verify(announcement, b"junk")) is Reason.DECODE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"swarm": "another"}, Reason.SWARM), ({"peer": BOB}, Reason.SENDER)],
)
def test_body_and_announcement_must_agree(changes: dict[str, str], reason: Reason) -> None:
    assert refusal(*verifier().verify(*offer(body([group(7)], ALICE), **changes))) is reason


def test_a_body_of_another_swarm_is_refused_even_when_its_announcement_agrees() -> None:
    foreign = replace(body([group(7)], ALICE), swarm="another")
    assert refusal(*verifier().verify(*offer(foreign))) is Reason.SWARM
    assert refusal(*verifier().verify(*offer(foreign, swarm=SWARM))) is Reason.SWARM


@pytest.mark.parametrize("field", ["round", "policy_version", "groups", "rollouts"])
def test_an_announcement_that_miscounts_its_body_is_refused(field: str) -> None:
    announcement, wire = offer(body([group(7)], ALICE))
    summary = replace(announcement.summary, **{field: getattr(announcement.summary, field) + 1})
    assert refusal(*verifier().verify(replace(announcement, summary=summary), wire)) is Reason.SUMMARY


def test_age_is_bounded_on_both_sides() -> None:
    clock = ManualClock()
    limits = {
        START - 600: None,
        START - 601: Reason.STALE,
        START - 3600: Reason.STALE,
        START + CLOCK_SKEW: None,
        START + CLOCK_SKEW + 1: Reason.FUTURE,
        START + 3600: Reason.FUTURE,
    }
    for created, reason in limits.items():
        [(verdict, _)] = verifier(clock, max_age=600).verify(*offer(body([group(7)], ALICE), created))
        assert verdict.reason is reason


def test_a_stale_body_stays_refused_when_it_is_announced_afresh() -> None:
    keeper, sent = verifier(), body([group(7)], ALICE)
    assert refusal(*keeper.verify(*offer(sent, START - 700))) is Reason.STALE
    assert refusal(*keeper.verify(*offer(sent, START))) is Reason.REPLAY


def test_a_task_that_the_swarm_does_not_name_is_refused() -> None:
    unknown = body_of([shared_group(7, ("it is 8", 1.0), task="addition@2")], ALICE)
    [(verdict, _)] = verifier().verify(*offer(unknown))
    assert (verdict.reason, verdict.task, verdict.seed) == (Reason.TASK, "addition@2", 7)


def test_one_bad_text_refuses_its_group_and_no_other() -> None:
    mixed = body_of(
        [
            shared_group(1, ("it is 2", 1.0), ("x" * 101, 0.0)),
            shared_group(2, ("it is 3", 1.0), ("<control>", 0.0)),
            shared_group(3, ("it is 4", 1.0), ("", 0.0)),
            shared_group(4, ("it is 5", 1.0), ("it is 6", 0.25)),
        ],
        ALICE,
    )
    verdicts = [verdict for verdict, _ in verifier(max_characters=100).verify(*offer(mixed))]
    assert [verdict.reason for verdict in verdicts] == [
        Reason.LENGTH,
        Reason.ENCODING,
        Reason.ENCODING,
        None,
    ]
    assert verdicts[3].label == "accepted"
    assert verdicts[0].label == "refused_length"


def test_a_rollout_that_cannot_be_read_is_left_out_and_counted_while_two_remain() -> None:
    mixed = body_of(
        [
            shared_group(1, ("<control>", 1.0), ("it is 2", 1.0), ("x" * 101, 0.0), ("no", 0.25)),
            shared_group(2, ("<control>", 1.0), ("it is 3", 1.0), ("", 0.0)),
        ],
        ALICE,
    )
    (taken, arrived), (refused, nothing) = verifier(max_characters=100).verify(*offer(mixed))
    assert (taken.outcome, taken.rollouts, taken.claim_mismatches) == (Outcome.ACCEPTED, 2, 1)
    assert taken.left_out == (Reason.ENCODING, Reason.LENGTH)
    assert arrived is not None and [r.text for r in arrived.rollouts] == ["it is 2", "no"]
    assert (refused.reason, refused.rollouts, refused.left_out, nothing) == (Reason.ENCODING, 3, (), None)


def test_what_is_left_out_does_not_dilute_a_copy() -> None:
    keeper = verifier()
    texts = ["counting on from seven gives exactly 8", "counting on from seven gives rather 9"]
    keeper.verify(*offer(body([group(7, texts)], ALICE)))
    padding = [(f"<control> and much that no tokenizer of ours would take, {n}", 0.0) for n in range(20)]
    copied = body_of([shared_group(7, (texts[0], 1.0), *padding, (texts[1], 0.25))], BOB)
    [(verdict, taken)] = keeper.verify(*offer(copied))
    assert (verdict.outcome, verdict.known, taken) == (Outcome.KNOWN, 2, None)


class Faulty(Addition):
    def score(self, problem: Problem, completion: str) -> float:
        if "crash" in completion:
            raise RecursionError(completion)
        return super().score(problem, completion)


def test_a_task_that_fails_on_a_text_costs_that_group_alone() -> None:
    keeper = RolloutVerifier(SWARM, NODE, {"addition@1": Faulty()}, encode, ManualClock())
    sent = body_of([shared_group(1, ("crash", 1.0)), shared_group(2, ("it is 3", 1.0), ("no", 0.0))], ALICE)
    (fault, _), (fine, _) = keeper.verify(*offer(sent))
    assert (fault.reason, fine.outcome) == (Reason.FAULT, Outcome.ACCEPTED)
    assert "crash" not in fault.detail


def test_a_task_that_fails_on_a_text_costs_the_text_where_two_others_remain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = RolloutVerifier(SWARM, NODE, {"addition@1": Faulty()}, encode, ManualClock())
    sent = body_of(
        [shared_group(7, ("crash", 1.0), ("it is 8", 1.0), ("crash too", 0.0), ("no", 0.5))], ALICE
    )
    [(verdict, taken)] = keeper.verify(*offer(sent))
    assert (verdict.outcome, verdict.left_out) == (Outcome.ACCEPTED, (Reason.FAULT, Reason.FAULT))
    assert verdict.claim_mismatches == 1  # "no" claimed a half: claims stay with their rollouts
    assert taken is not None
    assert [(r.text, r.reward) for r in taken.rollouts] == [("it is 8", 1.0), ("no", 0.0)]
    assert "RecursionError" in caplog.text and "crash" not in caplog.text
    one_left = body_of([shared_group(8, ("crash", 1.0), ("it is 9", 1.0))], ALICE)
    [(refused, nothing)] = keeper.verify(*offer(one_left))
    assert (refused.reason, nothing) == (Reason.FAULT, None)


def test_the_tokenizer_hears_how_a_rollout_ended() -> None:
    heard: list[Finish] = []

    def listening(text: str, finish: Finish) -> tuple[int, ...]:
        heard.append(finish)
        return (1,)

    keeper = RolloutVerifier(SWARM, NODE, {"addition@1": Addition()}, listening, ManualClock())
    cut = replace(group(7), rollouts=tuple(replace(r, finish=Finish.LENGTH) for r in group(7).rollouts))
    keeper.verify(*offer(body([cut], ALICE)))
    assert heard == [Finish.LENGTH, Finish.LENGTH]


def test_a_restored_guard_refuses_what_was_trained_before_the_restart() -> None:
    before, after = verifier(), verifier()
    texts = ["counting on from seven gives exactly 8", "counting on from seven gives rather 9"]
    first = offer(body([group(7, texts)], ALICE))
    before.verify(*first)
    after.guard.restore(json.loads(json.dumps(before.guard.snapshot())))
    assert after.guard.knows_body(first[0].digest)
    assert refusal(*after.verify(*offer(body([group(7)], ALICE, round=2)))) is Reason.REPLAY
    [(copied, _)] = after.verify(*offer(body([group(7, texts)], BOB)))
    assert copied.outcome is Outcome.KNOWN


def test_one_body_gives_one_result_whenever_it_is_examined() -> None:
    sent = body([group(7)], ALICE)
    assert verifier().verify(*offer(sent)) == verifier().verify(*offer(sent))


def test_a_text_beyond_the_own_cap_is_scored_and_trained_on_as_it_is_cut() -> None:
    def fit(text: str, finish: Finish) -> tuple[str, Finish]:
        return (text, finish) if len(text) <= 4 else (text[:4], Finish.LENGTH)

    limits = VerifierLimits(fit=fit)
    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Addition()}, encode, ManualClock(), limits)
    claims = body_of([shared_group(7, ("it is 8", 1.0), ("8", 1.0))], ALICE)
    [(verdict, accepted)] = keeper.verify(*offer(claims))
    assert accepted is not None
    cut, whole = accepted.rollouts
    assert (cut.text, cut.finish, cut.token_ids) == ("it i", Finish.LENGTH, tuple(map(ord, "it i")))
    assert (whole.text, whole.finish) == ("8", Finish.STOP)
    assert cut.reward is not None and cut.reward < 1.0, "the answer was in what is cut off"
    assert verdict.claim_mismatches == 0, "its claim was about the whole text"


def test_a_body_ends_after_a_few_refusals() -> None:
    bad = [shared_group(seed, ("<control>", 1.0), ("<control>", 0.0)) for seed in range(200)]
    results = verifier().verify(
        *offer(body_of([*bad, shared_group(900, ("it is 901", 1.0), ("no", 0.0))], ALICE))
    )
    assert [verdict.reason for verdict, _ in results] == [Reason.ENCODING] * MAX_REFUSALS + [Reason.WASTE]
    assert "193 further groups" in results[-1][0].detail


def test_a_body_that_costs_more_than_it_brings_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups without anything to learn from buy no time, though they pass: such a body once took 7.5 CPU seconds."""
    work = Work(monkeypatch, encoding=BODY_SECONDS / 8)
    alike = [shared_group(seed, ("no", 0.0), ("no!", 0.0)) for seed in range(50)]
    results = work.verifier.verify(*offer(body_of(alike, ALICE)))
    assert [verdict.outcome for verdict, _ in results] == [Outcome.SET_ASIDE] * 5 + [Outcome.REFUSED]
    assert results[-1][0].reason is Reason.WASTE


def test_large_good_groups_that_are_slow_to_read_are_held_against_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Peers that sample many rollouts of a problem were once refused for `waste`, and rested."""
    work = Work(monkeypatch, encoding=BODY_SECONDS / 4)
    groups = [shared_group(n, ("no", 0.0), (f"it is {n + 1}", 1.0)) for n in range(50)]
    results = work.verifier.verify(*offer(body_of(groups, ALICE)))
    assert 2 <= len(results) < 12, "the time that a body may take stays bounded"
    assert [verdict.outcome for verdict, _ in results[:-1]] == [Outcome.ACCEPTED] * (len(results) - 1)
    assert results[-1][0].outcome is Outcome.UNUSABLE and "further groups" in results[-1][0].detail


def test_groups_to_learn_from_pay_for_themselves_and_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fifth group once bought 0.4 CPU seconds for the four around it."""

    def verdicts_where(good: set[int]) -> int:
        groups = [
            shared_group(n, ("no", 0.0), (f"it is {n + 1}" if n in good else "so be it", 0.0))
            for n in range(50)
        ]
        work = Work(monkeypatch, encoding=SECONDS_A_GROUP / 2)
        results = work.verifier.verify(*offer(body_of(groups, ALICE)))
        looked_at = sum(verdict.seed is not None for verdict, _ in results)
        assert work.seconds == pytest.approx(looked_at * SECONDS_A_GROUP)
        return looked_at

    assert verdicts_where(set(range(50))) == 50
    useless = math.floor(BODY_SECONDS / SECONDS_A_GROUP) + 1
    assert verdicts_where({n for n in range(50) if n % 2 == 0}) <= 2 * useless
    assert verdicts_where({20}) <= useless


def test_rollouts_without_a_verdict_are_left_out_and_held_against_nobody() -> None:
    node = verifier()
    [(verdict, accepted)] = node.verify(
        *offer(body_of([shared_group(7, ("it is 8", 1.0), ("slow", 1.0), ("no", 0.0))], ALICE))
    )
    assert (verdict.outcome, verdict.no_verdict, verdict.claim_mismatches) == (Outcome.ACCEPTED, 1, 0)
    assert accepted is not None and accepted.rewards == (1.0, 0.0)
    [(verdict, unused)] = node.verify(
        *offer(body_of([shared_group(8, ("it is 9", 1.0), ("very slow", 1.0))], BOB))
    )
    assert (verdict.outcome, verdict.reason, unused) == (Outcome.UNUSABLE, None, None)
    assert "no end in time" in verdict.detail


def test_a_body_that_no_verifier_comes_to_an_end_with_is_given_up() -> None:
    asked: list[str] = []

    class Counted(Addition):
        def score(self, problem: Problem, completion: str) -> float | None:
            asked.append(completion)
            return super().score(problem, completion)

    node = RolloutVerifier(SWARM, NODE, {Addition.name: Counted()}, encode, ManualClock())
    groups = [shared_group(seed, *((f"{seed} {i} slow", 1.0) for i in range(20))) for seed in range(40)]
    verified = node.verify(*offer(body_of(groups, ALICE)))
    assert [verdict.outcome for verdict, _ in verified] == [Outcome.UNUSABLE] * 2
    assert "39 further groups" in verified[-1][0].detail
    assert (
        len(asked) == 8
    )  # then the group's others have no verdict either, and the body's other groups are left
