"""Bodies that cost and bring nothing: they end early, their sender is held to it, and the next one is looked at."""

from __future__ import annotations

import pytest
from fakes import ALICE, MALLORY, body, body_of, group, offer, shared_group, verifier

from node.bench.attacks.bodies import TEXT_TASK, blanks, equal_groups
from node.bench.attacks.offers import Offer, Sender
from node.bench.attacks.verifier import new_verifier
from policies.tasks.embedded import FAMILIES
from swarm.admission import rollout_verifier
from swarm.admission.peer_records import Standing
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome


@pytest.mark.parametrize("make", [blanks, equal_groups])
def test_what_teaches_nothing_is_not_read_to_its_end(make: object) -> None:
    """Of 256 groups of blanks each cost 10 ms; some are read, and the rest is one refusal."""
    sender = Sender.seeded("/ip4/45.10.7.1/tcp/4001", 0, "test")
    keeper = new_verifier({TEXT_TASK: FAMILIES["sort"]})
    sent: Offer = make(sender)  # type: ignore[operator]
    verdicts = [verdict for verdict, _ in keeper.verify(*sent)]
    assert verdicts[-1].outcome is Outcome.REFUSED and verdicts[-1].reason is Reason.WASTE
    assert "were not looked at" in verdicts[-1].detail and len(verdicts) < 256
    assert keeper.records.record(sender.peer).refused[Reason.WASTE] == 1


def test_a_body_ends_after_so_many_refusals() -> None:
    keeper = verifier()
    wrong = [shared_group(number, ("1", 0.0), ("2", 0.0), task="unknown@1") for number in range(100)]
    verdicts = [verdict for verdict, _ in keeper.verify(*offer(body_of(wrong, MALLORY)))]
    assert [v.reason for v in verdicts[:-1]] == [Reason.TASK] * rollout_verifier.MAX_REFUSALS
    assert verdicts[-1].reason is Reason.WASTE
    assert keeper.records.record(MALLORY).refused[Reason.TASK] == rollout_verifier.MAX_REFUSALS


def test_who_sends_nothing_else_rests_and_others_are_heard() -> None:
    keeper = verifier()
    for round_number in range(8):
        wrong = [shared_group(n, ("1", 0.0), ("2", 0.0), task="unknown@1") for n in range(20)]
        keeper.verify(*offer(body_of(wrong, MALLORY, round=round_number)))
    keeper.verify(*offer(body([group(1), group(2)], ALICE)))
    assert keeper.records.standing(MALLORY) is Standing.RESTING
    assert keeper.records.standing(ALICE) is Standing.KNOWN
