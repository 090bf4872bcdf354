"""The verifier benchmark: its arithmetic from made-up costs, its bodies within the protocol, and a short real run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.bench.attacks import bodies, verifier
from node.bench.attacks.offers import Sender
from node.bench.attacks.verifier import DEAREST, GROUPS_A_SECOND, BodyCost, checks
from node.bench.kit.options import BenchError, BenchOptions
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.limits import MAX_BODY
from swarm.wire.body_codec import decode_body

GOOD = Verdict(Outcome.ACCEPTED, "12D3", "sort@3", 1, rollouts=12, known=4)
EQUAL = replace(GOOD, outcome=Outcome.SET_ASIDE)
WASTE = Verdict.refused("12D3", Reason.WASTE, "3 further groups")


def test_a_body_pays_for_what_can_be_learned_from_it() -> None:
    cost = BodyCost("mixed", 100, [0.5, 0.1, 0.3], [GOOD] * 30 + [EQUAL] * 50 + [WASTE])
    assert cost.brought == 30.0
    assert cost.beyond == pytest.approx([0.4, 0.0, 0.2])
    row = cost.row()
    assert (row["groups_passed"], row["groups_of_8_brought"]) == (80, 30.0)
    assert (row["cpu_ms"], row["cpu_ms_low"], row["cpu_ms_high"]) == pytest.approx((300, 100, 500))
    assert row["cpu_ms_beyond"] == pytest.approx(200)
    assert row["verdicts"] == "accepted, refused_waste, set_aside"


def test_the_dearest_and_the_dearest_that_brings_nothing_are_held_to_the_bar() -> None:
    bought = BodyCost("bought", 1, [0.3, 0.3], [GOOD] * 30)
    bomb = BodyCost("bomb", 1, [0.06, 0.04, 0.06], [EQUAL])
    cheap = BodyCost("cheap", 1, [0.001], [WASTE])
    found = {check.name: check for check in checks([GROUPS_A_SECOND, 500.0], [bought, bomb, cheap])}
    assert found["groups_per_second"].holds
    assert found["dearest_body_s"].ours == pytest.approx(0.2) and not found["dearest_body_s"].holds
    assert (found["cpu_bomb_s"].ours, found["cpu_bomb_s"].low) == (0.06, 0.04) and DEAREST < 0.06
    assert not found["cpu_bomb_s"].holds
    assert not checks([GROUPS_A_SECOND - 1], [])[0].holds


@pytest.mark.parametrize("name", bodies.TEXT_BODIES)
def test_bodies_are_what_a_peer_may_announce(name: str) -> None:
    announcement, wire = bodies.TEXT_BODIES[name](Sender())
    assert announcement.verify_signature()
    assert announcement.size == len(wire) <= MAX_BODY
    if name not in {"deep_nesting", "decompression"}:  # those are no bodies, and large
        assert decode_body(wire).sender == announcement.peer


def test_an_unknown_body_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(BenchError, match="did you mean 'blanks'"):
        verifier.run(BenchOptions(cases=("blank",)), pytest.fail)


def test_a_short_run_measures_and_says_what_became_of_a_body() -> None:
    options = BenchOptions(cases=("one_letter_rollouts", "deep_nesting"), repeats=1)
    told: list[str] = []
    report = verifier.run(options, told.append)
    rows = {row.get("body"): row for row in report.rows}
    assert set(rows) == {"honest", "one_letter_rollouts", "deep_nesting"}
    assert rows["deep_nesting"]["verdicts"] == "refused_decode"
    assert "set_aside" in str(rows["one_letter_rollouts"]["verdicts"])
    assert {check.name for check in report.checks} == {"groups_per_second", "dearest_body_s", "cpu_bomb_s"}
    assert any(line.startswith("honest: ") for line in told)
