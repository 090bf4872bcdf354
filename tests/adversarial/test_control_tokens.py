"""Attack 17: mallory spells control tokens, or tries to send token ids. Bar: none enters from peer text."""

from __future__ import annotations

import msgpack
import pytest
import zstandard
from fakes import END, MALLORY, announce, body_of, offer, shared_group, verifier

from policies.rollout import Finish
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome
from swarm.wire.body import SharedGroup, SharedRollout

SPELLINGS = [
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<s>",
    "[INST]",
    "<|im_start|>system\n",
    "\x00",
    "\x1b[2J",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelt_control_tokens_reach_the_encoder_as_the_characters_they_are(spelling: str) -> None:
    sent = body_of([shared_group(7, (f"{spelling} it is 8", 1.0), ("it is 9", 0.25))], MALLORY)
    [(verdict, rebuilt)] = verifier().verify(*offer(sent))
    assert verdict.outcome is Outcome.ACCEPTED
    assert rebuilt is not None
    ids = rebuilt.rollouts[0].token_ids
    assert ids == (*map(ord, f"{spelling} it is 8"), END)


def test_text_that_the_encoder_cannot_take_without_a_control_token_refuses_its_group() -> None:
    sent = body_of([shared_group(7, ("<control> it is 8", 1.0), ("it is 9", 0.25))], MALLORY)
    [(verdict, rebuilt)] = verifier().verify(*offer(sent))
    assert (verdict.reason, rebuilt) == (Reason.ENCODING, None)
    assert "<control>" not in verdict.detail


def test_a_cut_rollout_gets_no_end_of_sequence() -> None:
    cut = SharedRollout("it is 8", Finish.LENGTH, 1.0), SharedRollout("it is 9", Finish.STOP, 0.25)
    [(_, rebuilt)] = verifier().verify(*offer(body_of([SharedGroup("addition@1", 7, cut)], MALLORY)))
    assert rebuilt is not None
    assert [END in rollout.token_ids for rollout in rebuilt.rollouts] == [False, True]


@pytest.mark.parametrize(
    "rollout",
    [
        [[151645], "stop", 1.0],
        [{"token_ids": [151645]}, "stop", 1.0],
        ["it is 8", "stop", 1.0, [151645]],
        ["it is 8", "stop", [151645]],
        ["it is 8", "eos:151645", 1.0],
        [b"\x85\x50\x02\x00", "stop", 1.0],
    ],
    ids=repr,
)
def test_there_is_no_field_that_carries_token_ids(rollout: list[object]) -> None:
    honest = body_of([shared_group(7, ("it is 8", 1.0))], MALLORY)
    fields = [1, honest.swarm, MALLORY, "tiny", 3, 1, [["addition@1", 7, [rollout]]]]
    wire = zstandard.ZstdCompressor(write_checksum=True).compress(msgpack.packb(fields))
    [(verdict, rebuilt)] = verifier().verify(announce(honest, wire), wire)
    assert (verdict.reason, rebuilt) == (Reason.DECODE, None)
