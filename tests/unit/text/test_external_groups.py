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
from policies.text.gradient_sketch import fold, sketch
from policies.text.policy import TextPolicy
from policies.text.settings import TextSettings
from policies.text.update import plausible

ROW = Row((1,), (2, 3, 4), 1.0, None, external=True)


def own(rows: Sequence[Row]) -> list[list[float]]:
    return [[math.log(0.5), math.log(0.0005), math.log(0.002)] for _ in rows]


def policy(**trainer: object) -> TextPolicy:
    settings = TextSettings.model_validate({"trainer": trainer})
    return TextPolicy(tiny_model(), tiny_tokenizer(), settings)


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


def test_a_direction_is_that_of_the_gradient_to_the_output_layer() -> None:
    """By torch's own differentiation, each rollout alone and without padding."""
    made = policy()
    batch = [random_group(random.Random(seed), "sort 31", [False] * 4) for seed in range(3)]
    for group, found in zip(batch, made.directions(batch), strict=True):
        weight = made._model.get_output_embeddings().weight.detach().clone().requires_grad_()
        for row in made._rows([group]):
            ids = torch.tensor([row.prompt_ids + row.token_ids])
            with torch.no_grad():
                states = made._model.base_model(ids).last_hidden_state[0, len(row.prompt_ids) - 1 : -1]
            logprobs = torch.log_softmax(states @ weight.t() / made._trainer.temperature, -1)
            chosen = logprobs.gather(1, torch.tensor(row.token_ids)[:, None])
            (row.advantage * chosen.sum()).backward()
        expected = sketch(weight.grad)
        assert found is not None and expected is not None
        assert found @ expected == pytest.approx(1.0, abs=1e-4)


def test_directions_are_those_of_padded_rows_alone_and_of_a_model_that_recomputes_its_layers() -> None:
    batch = [random_group(random.Random(seed), "sort 31", [False] * 4) for seed in range(3)]
    together = policy().directions(batch)
    recomputing = policy(gradient_checkpointing=True)
    for group, found, again in zip(batch, together, recomputing.directions(batch), strict=True):
        [alone] = policy().directions([group])
        assert found is not None and alone is not None and again is not None
        assert found @ alone == pytest.approx(1.0, abs=1e-4) == found @ again


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("buckets", [256, SKETCH])
def test_products_of_folded_vectors_are_nearly_those_of_the_whole(alike: float, buckets: int) -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 100_000, generator=generator)
    pair = torch.stack([one, alike * one + (1 - alike) * other])
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(*fold(pair, buckets), dim=0)) == pytest.approx(
        float(cosine(*pair, dim=0)), abs=4 / buckets**0.5
    )
    assert torch.equal(fold(pair, 100_000), pair)


def test_a_sketch_has_one_size_and_none_is_made_of_nothing() -> None:
    assert sketch(torch.zeros(9, 9)) is None and sketch(torch.full((9, 9), math.inf)) is None
    small, large = sketch(torch.ones(9, 9)), sketch(torch.ones(90, 90))
    assert small is not None and large is not None and small.shape == large.shape == (SKETCH,)
