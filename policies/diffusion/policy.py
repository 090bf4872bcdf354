"""The diffusion policy: a denoising network behind the `Policy` interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from policies.diffusion.denoiser import Denoiser, device_of
from policies.diffusion.fusion import depth_advantages, fuse
from policies.diffusion.images import to_images, to_pixels
from policies.diffusion.loss import TreeLoss
from policies.diffusion.nft_loss import Sample, WeightedSample, weigh_samples
from policies.diffusion.pruning import kept_edges, require_siblings, require_trained_step
from policies.diffusion.settings import DiffusionSettings
from policies.diffusion.step_plan import ode_plan, step_plan
from policies.diffusion.trainer import DiffusionTrainer
from policies.diffusion.tree_buffer import MatchedTrees, TreeBuffer
from policies.diffusion.tree_rollout import rollout_trees
from policies.diffusion.tree_shape import TreeShape
from policies.error_words import brief
from policies.policy import PolicyError, RolloutRequest, Stale, Stop, UpdateReport, UpdateSpec, never
from policies.progress import read_progress, save_progress
from policies.rollout import Finish, Image, Problem, Rollout, TrainGroup

WEIGHTS_FILE = "weights.safetensors"
GIGABYTE = 1_000_000_000

_Numbered = list[int]  # places in the list of requests
_Item = TypeVar("_Item")


class DiffusionPolicy:
    """See `policies.policy.Policy`. All requests of one problem in a call are the leaves of the trees of one shape.

    An update learns from own groups by their trees, if it learns in reverse and still has them, and from all others
    as finished images. It takes from a group's advantages how its rollouts compare, and scales anew: depth by depth in
    a tree, over all samples of a prompt together for finished images.
    """

    def __init__(self, denoiser: Denoiser, settings: DiffusionSettings, name: str, seed: int = 0) -> None:
        """`name` says which network it is, for the fingerprint. Raises PolicyError where no step could be trained."""
        require_trained_step(settings.tree, denoiser.schedule)
        self._denoiser, self._settings = denoiser, settings
        self._trainer = DiffusionTrainer(denoiser, settings, seed)
        self._buffer = TreeBuffer(int(settings.trainer.tree_memory_gb * GIGABYTE))
        self._version = 0
        size = sum(parameter.numel() for parameter in denoiser.module.parameters())
        self._fingerprint = f"{name}-{size}"[-64:]

    @property
    def version(self) -> int:
        return self._version

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def waiting(self) -> int:
        """Trees that are kept for an update."""
        return len(self._buffer)

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        raise ValueError("a diffusion policy takes no text")

    def fit(self, text: str, finish: Finish) -> tuple[str, Finish]:
        raise ValueError("a diffusion policy takes no text")

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        """`stop` is asked between batches of trees; what is not begun then stays unfinished, without a trace."""
        rollouts = [request.begun or Rollout("", (), Finish.UNFINISHED) for request in requests]
        batches = self._singly(requests) if held_out else self._together(requests)
        for batch in batches:
            images = self._draw(batch, requests, held_out=held_out)
            finished = [place for places in batch for place in places]
            for place, image in zip(finished, images, strict=True):
                rollouts[place] = Rollout("", (), Finish.STOP, image=image)
            if stop(finished):
                break
        return rollouts

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport | None:
        matched, found = self._buffer.match(batch)
        losses = [self._tree_loss(trees, spec) for trees in matched]
        losses = (
            [] if all(loss.zero_advantage for loss in losses) else [loss for loss in losses if loss.edges]
        )
        samples = self._weighted_samples(batch, found)
        if not losses and not samples:
            return None
        step = self._trainer.step(losses, samples, spec, self._version)
        self._version += 1
        edges = step.trees.edges
        return UpdateReport(
            loss=step.loss,
            grad_norm=step.grad_norm,
            learning_rate=step.learning_rate,
            entropy=step.trees.entropy / edges if edges else 0.0,
            clipped_share=step.trees.clipped / edges if edges else 0.0,
            rollouts=sum(len(member.group.rollouts) for member in batch),
            tokens=edges + step.images * self._settings.forward.draws,
            micro_batches=step.trees.micro_batches,
        )

    def save(self, folder: Path) -> None:
        """Trees are not saved: after a resume their groups are learnt from as finished images."""
        save_file(_trained(self._denoiser.module), folder / WEIGHTS_FILE)
        save_progress(folder, self._trainer.progress(), self._version, self._fingerprint)

    def load(self, folder: Path) -> None:
        """Raises PolicyError when `folder` holds no complete save of a policy of this fingerprint."""
        progress, version = read_progress(folder, self._fingerprint)
        file = folder / WEIGHTS_FILE
        try:
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise PolicyError(
                f"{file} cannot be read ({brief(error)}); resume from another checkpoint"
            ) from error
        parameters = _trained(self._denoiser.module)
        if weights.keys() != parameters.keys():
            raise PolicyError(
                f"{folder} holds other weights than this policy trains; was it saved with an adapter?"
            )
        for name, weight in weights.items():
            parameters[name].copy_(weight)
        self._trainer.resume(progress)
        self._version = version

    def _together(self, requests: Sequence[RolloutRequest]) -> Iterator[list[_Numbered]]:
        """The requests of each problem together; those of trees of one shape in batches that memory bounds."""
        by_problem: dict[Problem, _Numbered] = {}
        for place, request in enumerate(requests):
            by_problem.setdefault(request.problem, []).append(place)
        by_leaves: dict[int, list[_Numbered]] = {}
        for places in by_problem.values():
            by_leaves.setdefault(len(places), []).append(places)
        for leaves, together in by_leaves.items():
            yield from _parts(together, max(1, self._settings.trainer.rows // leaves))

    def _singly(self, requests: Sequence[RolloutRequest]) -> Iterator[list[_Numbered]]:
        """Every request by itself, as evaluation asks."""
        yield from _parts([[place] for place in range(len(requests))], self._settings.trainer.rows)

    def _draw(
        self, batch: Sequence[_Numbered], requests: Sequence[RolloutRequest], *, held_out: bool
    ) -> list[Image]:
        """The leaves of each problem's trees, in the order of `batch`; their trees are kept if they will be trained."""
        tree, schedule = self._settings.tree, self._denoiser.schedule
        chosen = ode_plan(schedule) if held_out else step_plan(tree, schedule, self._version)
        shape = TreeShape.of({} if held_out else tree.splits, len(batch[0]), len(chosen.steps))
        keep = not held_out and tree.learn == "reverse"
        if keep:
            require_siblings(tree, shape, chosen, self._version)
        first = [requests[places[0]] for places in batch]
        prompts, seeds = [request.problem.prompt for request in first], [request.key for request in first]
        trees = rollout_trees(self._denoiser, shape, chosen, prompts, seeds, self._settings.trainer.rows)
        images = to_images(self._decoded(trees.leaves.flatten(0, 1)))
        if keep:
            problems = [request.problem for request in first]
            self._buffer.add(trees, self._version, problems, list(_parts(images, shape.leaves)))
        return images

    @torch.no_grad()
    def _decoded(self, latents: Tensor) -> Tensor:
        device = device_of(self._denoiser)
        rows = self._settings.trainer.rows
        parts = [latents[first : first + rows] for first in range(0, len(latents), rows)]
        return torch.cat([self._denoiser.decode(part.to(device)).cpu() for part in parts])

    def _tree_loss(self, matched: MatchedTrees, spec: UpdateSpec) -> TreeLoss:
        settings, trees = self._settings.tree, matched.trees
        stale = matched.version != self._version
        values = fuse(
            trees.shape,
            matched.rewards,
            trees.log_probs,
            beta=settings.fusion_beta,
            dimensions=trees.leaves[0, 0].numel(),
        )
        advantages = depth_advantages(values, settings.scale, settings.max_advantage)
        trained = matched.present & (not (stale and spec.stale is Stale.MASK))
        kept = kept_edges(settings, trees, matched.rewards, trained, matched.version)
        return TreeLoss(trees, advantages, kept, against_own=stale and spec.stale is Stale.RECOMPUTE)

    def _weighted_samples(
        self, batch: Sequence[TrainGroup], found: Sequence[set[int]]
    ) -> list[WeightedSample]:
        """The finished images to learn from: all of every prompt that has one without a tree."""
        loose = {
            member.group.problem.prompt
            for member, known in zip(batch, found, strict=True)
            if len(known) < len(member.group.rollouts)
        }
        samples = [
            sample
            for member in batch
            if member.group.problem.prompt in loose
            for sample in self._samples(member)
        ]
        own = sum(len(member.group.rollouts) for member in batch if not member.group.external)
        most, share = self._settings.tree.max_advantage, self._settings.forward.external_share
        return weigh_samples(samples, most, share, own)

    @torch.no_grad()
    def _samples(self, member: TrainGroup) -> Iterator[Sample]:
        """Its scored images. What the strategy gives no advantage is compared with, not learnt from."""
        device = device_of(self._denoiser)
        for rollout, advantage in zip(member.group.rollouts, member.advantages, strict=True):
            if rollout.image is None or rollout.reward is None:
                continue
            latents = self._denoiser.encode(to_pixels(rollout.image)[None].to(device))[0].cpu()
            prompt, external = member.group.problem.prompt, member.group.external
            yield Sample(prompt, latents, rollout.reward, external, advantage != 0.0)


def _parts(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    for first in range(0, len(items), size):
        yield list(items[first : first + size])


def _trained(module: torch.nn.Module) -> dict[str, Tensor]:
    """What training changes, by name: an adapter where there is one, else all weights that are not frozen."""
    return {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
