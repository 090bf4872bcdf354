"""What a text policy makes of peers' groups beside training on them: implausible tokens, masks, and alignment."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_text import mixed_batch, problem, random_group, tiny_model, tiny_tokenizer

from policies.policy import UpdateSpec
from policies.rollout import Group, TrainGroup
from policies.text.batching import Row, rows_of
from policies.text.policy import TextPolicy
from policies.text.settings import TextSettings
from policies.text.update import plausible

ROW = Row((1,), (2, 3, 4), 1.0, None, external=True)


def own(rows: Sequence[Row]) -> list[list[float]]:
    return [[math.log(0.5), math.log(0.0005), math.log(0.002)] for _ in rows]


def policy() -> TextPolicy:
    return TextPolicy(tiny_model(), tiny_tokenizer(), TextSettings())


def weights(made: TextPolicy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in made._model.parameters()]


def test_a_token_under_the_floor_is_context_only() -> None:
    [row] = plausible([ROW], 0.001, own)
    assert row.untrained == (False, True, False) and row.token_ids == ROW.token_ids


@pytest.mark.parametrize(
    ("row", "floor"),
    [(ROW, 0.0), (replace(ROW, external=False), 0.1), (replace(ROW, advantage=-1.0), 0.1)],
)
def test_own_tokens_and_those_that_are_warned_of_train_whatever_their_probability(
    row: Row, floor: float
) -> None:
    assert plausible([row], floor, own) == [row]


def test_masks_of_a_group_reach_its_rows_and_add_up() -> None:
    group = random_group(random.Random(0), "1+2=", [False, False], origin="peer")
    masks = (tuple(n == 0 for n in range(len(group.group.rollouts[0].token_ids))), None)
    first, second = rows_of([replace(group, skipped=masks)], lambda prompt: (1,))
    assert (first.untrained, second.untrained, first.external) == (masks[0], None, True)
    assert first.skipping([True] * len(first.token_ids)).trained_tokens == 0
    with pytest.raises(ValueError, match="1 masks for 2 rollouts"):
        replace(group, skipped=(None,))


def test_an_update_tells_how_many_tokens_it_left_out() -> None:
    made, none = (
        policy().update(mixed_batch(), UpdateSpec(external_floor=0.9)),
        policy().update(mixed_batch()),
    )
    assert made and none and made.implausible > 0 == none.implausible
    assert made.tokens == none.tokens - made.implausible or made.tokens < none.tokens


def test_alignment_is_one_with_itself_and_minus_one_with_its_opposite_and_changes_nothing() -> None:
    made, group = policy(), random_group(random.Random(3), "sort 31", [False] * 4)
    before = weights(made)

    def of(peer: str, sign: float) -> list[TrainGroup]:
        theirs = Group(group.group.problem, group.group.rollouts, peer)
        return [TrainGroup(theirs, tuple(sign * advantage for advantage in group.advantages))]

    found = made.alignment(
        [group], {"friend": of("friend", 1.0), "foe": of("foe", -1.0), "none": of("none", 0.0)}
    )
    assert found == {"friend": pytest.approx(1.0, abs=1e-4), "foe": pytest.approx(-1.0, abs=1e-4)}
    assert all(map(torch.equal, before, weights(made))) and made.version == 0
    assert not any(p.grad is not None and p.grad.any() for p in made._model.parameters())


def test_nobody_is_measured_where_own_groups_say_nothing() -> None:
    made, theirs = policy(), random_group(random.Random(4), "1+2=", [False] * 3, origin="peer")
    silent = TrainGroup(Group(problem("9"), theirs.group.rollouts), (0.0,) * 3)
    assert made.alignment([silent], {"peer": [theirs]}) == {}
