"""What a text policy makes of peers' groups beside training on them: implausible tokens, masks, and directions."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_text import mixed_batch, random_group, tiny_model, tiny_tokenizer

from policies.direction import SKETCH
from policies.policy import UpdateSpec
from policies.rollout import Group, TrainGroup
from policies.text.batching import Row, rows_of
from policies.text.gradient_sketch import sketch
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


def test_directions_are_alike_for_the_same_group_opposite_for_its_opposite_and_change_nothing() -> None:
    made, group = policy(), random_group(random.Random(3), "sort 31", [False] * 4)
    before = weights(made)

    def of(sign: float) -> TrainGroup:
        theirs = Group(group.group.problem, group.group.rollouts, "peer")
        return TrainGroup(theirs, tuple(sign * advantage for advantage in group.advantages))

    mine, friend, foe, none = made.directions([group, of(1.0), of(-1.0), of(0.0)])
    assert mine is not None and friend is not None and foe is not None and none is None
    assert mine.shape == (SKETCH,) and mine @ mine == pytest.approx(1.0, abs=1e-5)
    assert (mine @ friend, mine @ foe) == (pytest.approx(1.0, abs=1e-4), pytest.approx(-1.0, abs=1e-4))
    assert all(map(torch.equal, before, weights(made))) and made.version == 0
    assert not any(p.grad is not None and p.grad.any() for p in made._model.parameters())


def gradients(seed: int, alike: float) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Two sets of parameters with gradients, more than one chunk of them, and one that has none."""
    generator = torch.Generator().manual_seed(seed)
    first = [torch.randn(size, generator=generator) for size in ((1100, 1000), (7,), (5000,))]
    second = [alike * one + (1 - alike) * torch.randn(one.shape, generator=generator) for one in first]
    sets = []
    for grads in (first, second):
        parameters = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        sets.append([parameters[0], torch.nn.Parameter(torch.zeros(9)), *parameters[1:]])
    return sets[0], sets[1]


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6])
def test_products_of_sketches_are_nearly_the_cosines_of_the_gradients(alike: float) -> None:
    one, other = gradients(1, alike)
    flat = [torch.cat([p.grad.flatten() for p in part if p.grad is not None]) for part in (one, other)]
    cosine = float(torch.nn.functional.cosine_similarity(*flat, dim=0))
    first, second = sketch(one), sketch(other)
    assert first is not None and second is not None
    assert first @ second == pytest.approx(cosine, abs=4 / SKETCH**0.5)


def test_an_entry_has_its_sign_whether_or_not_those_before_it_have_a_gradient() -> None:
    one, other = gradients(2, 1.0)
    one[0].grad = None
    other[0].grad = torch.zeros_like(other[0])
    first, second = sketch(one), sketch(other)
    assert first is not None and second is not None and first @ second == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_no_direction_of_what_is_zero_or_not_finite(value: float) -> None:
    one, _ = gradients(3, 1.0)
    for parameter in one:
        if parameter.grad is not None:
            parameter.grad.fill_(value)
    assert sketch(one) is None
