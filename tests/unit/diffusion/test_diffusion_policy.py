"""The policy behind its seam: trees by problem, trees found again, resumption, peers' images, divergence."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_denoiser import SmallDenoiser

from policies.advantage import group_relative
from policies.diffusion.policy import DiffusionPolicy
from policies.diffusion.settings import DiffusionSettings
from policies.policy import (
    DivergedError,
    Policy,
    PolicyError,
    RolloutRequest,
    Stale,
    UpdateSpec,
    sample_groups,
)
from policies.rollout import Finish, Group, Image, Problem, Rollout, TrainGroup
from policies.tasks.digits import PROMPTS

TREE = {"splits": {0: 2, 2: 2, 4: 2}, "noisy": None}


def policy(seed: int = 0, **tree: object) -> DiffusionPolicy:
    settings = DiffusionSettings.model_validate({"tree": {**TREE, **tree}, "trainer": {"rows": 64}})
    return DiffusionPolicy(SmallDenoiser(), settings, "small", seed)


def problem(digit: int, seed: int | None = None) -> Problem:
    return Problem("digits@1", digit if seed is None else seed, PROMPTS[digit], str(digit))


def darkness(image: Image) -> float:
    """A reward for tests: 1 for an image that is black, 0 for a white one."""
    return 1 - sum(image.pixels) / (255 * len(image.pixels))


def scored(group: Group) -> Group:
    rollouts = [
        rollout.scored(darkness(rollout.image)) for rollout in group.rollouts if rollout.image is not None
    ]
    return replace(group, rollouts=tuple(rollouts))


def groups_of(drawer: Policy, digits: Sequence[int], rollouts: int = 8, seed: int = 1) -> list[Group]:
    return [scored(g) for g in sample_groups(drawer, [problem(d) for d in digits], rollouts, seed)]


def advised(groups: Sequence[Group]) -> list[TrainGroup]:
    return [TrainGroup(group, group_relative(group.rewards)) for group in groups]


def weights(drawer: DiffusionPolicy) -> list[torch.Tensor]:
    return [p.detach().clone() for p in drawer._denoiser.module.parameters()]


def same(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_a_problems_requests_share_trees_and_its_draws_depend_on_its_keys_alone() -> None:
    drawer = policy()
    requests = [RolloutRequest(problem(place % 2), 100 + place) for place in range(16)]
    mixed = drawer.sample(requests)
    assert drawer.waiting == 2
    assert all(r.finish is Finish.STOP and r.image is not None and not r.segments for r in mixed)
    assert len({r.image for r in mixed}) == 16
    alone = drawer.sample([request for request in requests if request.problem == problem(1)])
    for ours, others in zip(mixed[1::2], alone, strict=True):
        assert ours.image is not None and others.image is not None
        assert max(abs(a - b) for a, b in zip(ours.image.pixels, others.image.pixels, strict=True)) <= 1


def test_it_learns_what_it_is_rewarded_for() -> None:
    settings = DiffusionSettings.model_validate({"tree": TREE, "trainer": {"learning_rate": 1e-2}})
    drawer = DiffusionPolicy(SmallDenoiser(), settings, "small")

    def held_out() -> float:
        (group,) = map(scored, sample_groups(drawer, [problem(1)], 32, 5, held_out=True))
        return group.mean_reward

    before = held_out()
    for round_number in range(15):
        report = drawer.update(advised(groups_of(drawer, (1, 1, 2), seed=round_number)))
        assert report is not None and report.clipped_share == 0
    assert drawer.version == 15
    assert held_out() > before + 0.03


def test_trees_are_used_once_and_what_has_none_is_learnt_from_as_an_image() -> None:
    drawer = policy()
    groups = groups_of(drawer, (1, 2))
    first = drawer.update(advised(groups))
    assert first is not None and first.micro_batches > 0 and drawer.waiting == 0
    edges = 2 * (2 + 2 + 4 + 4 + 8 + 8 + 8)  # all but the last step, which is without noise
    assert first.tokens == edges
    again = drawer.update(advised(groups))
    assert again is not None and again.micro_batches == 0
    assert again.tokens == 2 * 8 * 6  # images x draws


def test_a_resumed_policy_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, half = policy(), policy()
    for drawer in (whole, half):
        drawer.update(advised(groups_of(drawer, (1, 2))))
    half.save(tmp_path)
    resumed = policy()
    resumed.load(tmp_path)
    assert resumed.version == 1 and same(weights(resumed), weights(whole))
    for drawer in (whole, resumed):
        groups = groups_of(drawer, (3,), seed=2)
        drawer.update(advised(groups))
        drawer.update(advised(groups))  # the second time as finished images: the old policy is restored too
    assert same(weights(resumed), weights(whole))


def test_a_save_of_another_policy_is_refused(tmp_path: Path) -> None:
    policy().save(tmp_path)
    other = DiffusionPolicy(SmallDenoiser(), DiffusionSettings(tree={"splits": {}}), "other")
    with pytest.raises(PolicyError, match="was saved by small-"):
        other.load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(PolicyError, match="cannot be read"):
        policy().load(tmp_path)


def test_images_of_peers_are_learnt_from_with_the_own_ones_of_their_prompt() -> None:
    drawer, peer = policy(), policy(seed=1)
    own = groups_of(drawer, (1, 2))
    external = replace(groups_of(peer, (1,), rollouts=4, seed=9)[0], origin="peer")
    report = drawer.update(advised([*own, external]))
    assert report is not None
    assert report.micro_batches > 0  # the own trees
    tree_edges = 2 * 36
    assert report.tokens == tree_edges + (8 + 4) * 6  # and the images of digit 1, own and external
    assert report.rollouts == 20


def test_images_of_a_peer_are_never_taken_for_own_leaves() -> None:
    """A peer may send back the very images that this node drew: the trees still wait for the own group."""
    drawer = policy()
    (own,) = groups_of(drawer, (1,))
    copied = replace(own, origin="peer")
    report = drawer.update(advised([copied]))
    assert report is not None and report.micro_batches == 0 and report.tokens == 8 * 6  # as finished images
    assert drawer.waiting == 1
    both = drawer.update(advised([copied, own]))
    assert both is not None and both.micro_batches > 0 and drawer.waiting == 0


@pytest.mark.parametrize("clip", [None, (0.5, 0.5)])
def test_a_strategys_clip_is_for_tokens_and_leaves_the_trees_own_in_force(
    clip: tuple[float, float] | None,
) -> None:
    """Far off the policy that sampled, the tree's 1e-3 clips nearly every edge, and a bound of 0.5 would clip few."""
    drawer = policy()
    groups = groups_of(drawer, (1, 2))
    with torch.no_grad():
        for parameter in drawer._denoiser.module.parameters():
            parameter.add_(0.02)
    report = drawer.update(advised(groups), UpdateSpec(clip=clip))
    assert report is not None
    assert report.clipped_share > 0.5


def test_a_gradient_without_end_is_refused_though_its_loss_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = policy()
    assert drawer.update(advised(groups_of(drawer, (1, 2)))) is not None
    before, progress = weights(drawer), deepcopy(drawer._trainer.progress())
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(DivergedError, match="gradient norm inf"):
        drawer.update(advised(groups_of(drawer, (1, 2), seed=3)))
    after = drawer._trainer.progress()
    assert drawer.version == 1 and same(weights(drawer), before) and same(after["old"], progress["old"])
    for key, state in progress["optimizer"]["state"].items():
        assert all(torch.equal(value, after["optimizer"]["state"][key][n]) for n, value in state.items())


def test_only_what_a_peer_recommends_can_be_learnt_from() -> None:
    drawer, peer = policy(), policy(seed=1)
    external = replace(groups_of(peer, (1,), rollouts=4, seed=9)[0], origin="peer")
    kept = tuple(max(0.0, advantage) for advantage in group_relative(external.rewards))
    report = drawer.update([TrainGroup(external, kept)])
    assert report is not None and report.tokens == sum(advantage > 0 for advantage in kept) * 6


def test_what_cannot_be_learnt_from_is_passed_over() -> None:
    drawer = policy()
    before = weights(drawer)
    text = Group(problem(1), (Rollout("a", (), Finish.STOP, 1.0), Rollout("b", (), Finish.STOP, 0.0)), "peer")
    assert drawer.update(advised([text])) is None
    equal = [replace(g, rollouts=tuple(r.scored(0.5) for r in g.rollouts)) for g in groups_of(policy(), (1,))]
    assert drawer.update(advised(equal)) is None
    assert drawer.version == 0 and same(weights(drawer), before)
    with pytest.raises(ValueError, match="no text"):
        drawer.encode("a digit", Finish.STOP)


def test_a_part_of_a_group_trains_a_part_of_its_tree() -> None:
    drawer = policy()
    (group,) = groups_of(drawer, (1,))
    part = replace(group, rollouts=group.rollouts[:3])
    report = drawer.update(advised([part]))
    assert report is not None
    assert report.tokens == 1 + 1 + 2 + 2 + 3 + 3 + 3


def test_two_stages_of_one_group_are_two_trees() -> None:
    drawer = policy()
    first, second = (groups_of(drawer, (1,), rollouts=n, seed=n)[0] for n in (4, 2))
    both = replace(first, rollouts=first.rollouts + second.rollouts)
    report = drawer.update(advised([both]))
    assert report is not None and drawer.waiting == 0
    assert report.tokens == (2 + 2 + 4 * 5) + 2 * 7


def test_several_epochs_and_stale_trees() -> None:
    drawer = policy()
    old, new = groups_of(drawer, (1,), seed=3), groups_of(drawer, (2,), seed=4)
    assert drawer.update(advised(new), UpdateSpec(epochs=2, learning_rate_scale=50)) is not None
    assert drawer.update(advised(old), UpdateSpec(stale=Stale.MASK)) is None
    old = groups_of(drawer, (1,), seed=5)
    drawer.update(advised(groups_of(drawer, (2,), seed=6)), UpdateSpec(learning_rate_scale=50))
    report = drawer.update(advised(old), UpdateSpec(stale=Stale.RECOMPUTE))
    assert report is not None and report.clipped_share == 0


def test_a_stop_leaves_what_is_not_begun() -> None:
    drawer = policy()
    asked: list[list[int]] = []

    def stop(finished: Sequence[int]) -> bool:
        asked.append(list(finished))
        return True

    asking = [problem(1), problem(1), problem(1), problem(2), problem(2)]
    requests = [RolloutRequest(each, key) for key, each in enumerate(asking)]
    rollouts = drawer.sample(requests, stop=stop)
    assert asked == [[0, 1, 2]]
    assert [r.finish for r in rollouts] == [Finish.STOP] * 3 + [Finish.UNFINISHED] * 2


def test_a_diverged_update_leaves_everything_as_it_was() -> None:
    drawer = policy()
    groups = groups_of(drawer, (1, 2))
    drawer.update(advised(groups))
    before = weights(drawer)
    broken = replace(groups[0], rollouts=tuple(r.scored(float("nan")) for r in groups[0].rollouts))
    with pytest.raises(DivergedError):
        drawer.update([TrainGroup(broken, group_relative(groups[0].rewards)), *advised(groups[1:])])
    assert drawer.version == 1 and same(weights(drawer), before)
    assert drawer.update(advised(groups_of(drawer, (1,), seed=8))) is not None


def test_learning_forward_keeps_no_trees() -> None:
    settings = DiffusionSettings.model_validate({"tree": "nft"})
    drawer = DiffusionPolicy(SmallDenoiser(), settings, "small")
    groups = groups_of(drawer, (1, 2), rollouts=4)
    assert drawer.waiting == 0
    report = drawer.update(advised(groups))
    assert report is not None and report.tokens == 8 * 6 and drawer.version == 1


def test_trees_beyond_the_budget_give_way() -> None:
    settings = DiffusionSettings.model_validate({"tree": TREE, "trainer": {"tree_memory_gb": 10e-6}})
    drawer = DiffusionPolicy(SmallDenoiser(), settings, "small")
    old, new = groups_of(drawer, (1,)), groups_of(drawer, (2,))
    assert drawer.waiting == 1
    assert drawer.update(advised(old)) is not None and drawer.waiting == 1
    assert drawer.update(advised(new)) is not None and drawer.waiting == 0


def test_a_split_needs_a_noisy_step() -> None:
    with pytest.raises(PolicyError, match="split at step 7 of 8"):
        policy(splits={7: 2})


WHOLE = {"first": 0, "size": 8}
WANDERING = {"first": 6, "size": 2, "every": 3, "stride": -1, "last": 0}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"pruned": WHOLE}, r"pruned covers every noisy step, \[0, 1, 2, 3, 4, 5, 6\], after 0 updates"),
        ({"pruned": {"first": 0, "size": 99}}, "pruned covers every noisy step"),
        (
            {"splits": {2: 2}, "noisy": {"first": 3, "size": 1}, "pruned": {"first": 1, "size": 3}},
            r"\[2, 3\]",
        ),
        # It covers them only after six moves of three updates each.
        ({"splits": {}, "noisy": {"first": 0, "size": 2}, "pruned": WANDERING}, "after 18 updates"),
        ({"splits": {}, "noisy": {"first": 7, "size": 1}}, "none of the 8 denoising steps is noisy"),
    ],
)
def test_windows_that_leave_no_step_to_train_are_refused(tree: dict[str, object], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        policy(**tree)


def test_a_group_whose_images_are_never_compared_is_refused() -> None:
    """Until it splits at step 4 a group of two is one chain: the noisy steps before compare nothing."""
    drawer = policy(splits={4: 2}, noisy={"first": 1, "size": 2}, pruned={"first": 4, "size": 2})
    with pytest.raises(PolicyError, match=r"2 rollouts is one image until step 4, .* \[4\]"):
        drawer.sample([RolloutRequest(problem(1), key) for key in range(2)])
    assert drawer.sample([RolloutRequest(problem(1), 0)], held_out=True)[0].image is not None
    assert len(drawer.sample([RolloutRequest(problem(1), key) for key in range(6)])) == 6  # three roots


@pytest.mark.parametrize("steps", [1, 2])
def test_learning_forward_needs_no_noisy_step(steps: int) -> None:
    settings = DiffusionSettings.model_validate({"tree": "nft"})
    drawer = DiffusionPolicy(SmallDenoiser(steps), settings, "small")
    assert drawer.update(advised(groups_of(drawer, (1, 2), rollouts=4))) is not None


def test_one_step_without_noise_says_so() -> None:
    settings = DiffusionSettings.model_validate({"tree": {"splits": {}, "noisy": None}})
    with pytest.raises(PolicyError, match="none of the 1 denoising steps is noisy"):
        DiffusionPolicy(SmallDenoiser(1), settings, "small")
