"""The diffusion policy behind the `Policy` seam: a denoising network that draws, learns and is saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from policies.diffusion.denoiser import Denoiser
from policies.diffusion.fusion import depth_advantages, fuse
from policies.diffusion.images import to_images, to_pixels
from policies.diffusion.loss import TreeLoss
from policies.diffusion.nft_loss import Sample, WeightedSample, lessons
from policies.diffusion.plan import deterministic, plan
from policies.diffusion.pruning import kept_edges
from policies.diffusion.settings import DiffusionSettings
from policies.diffusion.trainer import DiffusionTrainer
from policies.diffusion.tree_buffer import MatchedTrees, TreeBuffer
from policies.diffusion.tree_rollout import grow
from policies.diffusion.tree_shape import TreeShape
from policies.policy import PolicyError, RolloutRequest, Stale, Stop, UpdateReport, UpdateSpec, never
from policies.rollout import Finish, Image, Problem, Rollout, TrainGroup

WEIGHTS_FILE = "weights.safetensors"
PROGRESS_FILE = "progress.pt"
GIGABYTE = 1_000_000_000

_Numbered = list[int]  # places in the list of requests
_Item = TypeVar("_Item")


class DiffusionPolicy:
    """See `policies.policy.Policy`. All requests of one problem in a call are the leaves of one forest.

    An update learns from own groups by their trees, if it learns in reverse and still has them, and from all others
    as finished images. It takes from a group's advantages how its rollouts compare, and scales anew: depth by depth in
    a tree, over all samples of a prompt together for finished images.
    """

    def __init__(self, denoiser: Denoiser, settings: DiffusionSettings, name: str, seed: int = 0) -> None:
        """`name` says which network it is, for the fingerprint. Raises PolicyError for splits beyond the schedule."""
        last = max(settings.tree.splits, default=0)
        if last >= denoiser.schedule.steps - 1:
            raise PolicyError(
                f"a split at step {last}: it must come before the last step, which is without noise"
            )
        self._denoiser, self._settings = denoiser, settings
        self._trainer = DiffusionTrainer(denoiser, settings, seed)
        self._grove = TreeBuffer(int(settings.trainer.tree_memory_gb * GIGABYTE))
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
        return len(self._grove)

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        raise ValueError("a diffusion policy takes no text")

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        """`stop` is asked between batches of forests; what is not begun then stays unfinished, without a trace."""
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
        harvests, found = self._grove.harvest(batch)
        forests = [self._tree_loss(harvest, spec) for harvest in harvests]
        forests = [forest for forest in forests if forest.edges]
        taught = self._lessons(batch, found)
        if not forests and not taught:
            return None
        step = self._trainer.step(forests, taught, spec, self._version)
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
        progress = {
            "trainer": self._trainer.progress(),
            "version": self._version,
            "fingerprint": self._fingerprint,
        }
        torch.save(progress, folder / PROGRESS_FILE)

    def load(self, folder: Path) -> None:
        """Raises PolicyError when `folder` holds no complete save of a policy of this fingerprint."""
        file = folder / PROGRESS_FILE
        try:
            progress: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            weights = load_file(folder / WEIGHTS_FILE)
        except (OSError, RuntimeError, UnpicklingError) as error:
            raise PolicyError(f"{file} cannot be read ({error}); resume from another checkpoint") from error
        if progress["fingerprint"] != self._fingerprint:
            raise PolicyError(
                f"{folder} holds {progress['fingerprint']}, this policy is {self._fingerprint}; "
                "resume with the config that it was saved with"
            )
        parameters = _trained(self._denoiser.module)
        if weights.keys() != parameters.keys():
            raise PolicyError(
                f"{folder} holds other weights than this policy trains; was it saved with an adapter?"
            )
        for name, weight in weights.items():
            parameters[name].copy_(weight)
        self._trainer.resume(progress["trainer"])
        self._version = progress["version"]

    def _together(self, requests: Sequence[RolloutRequest]) -> Iterator[list[_Numbered]]:
        """The requests of each problem as one forest; forests of one shape in batches that memory bounds."""
        by_problem: dict[Problem, _Numbered] = {}
        for place, request in enumerate(requests):
            by_problem.setdefault(request.problem, []).append(place)
        by_leaves: dict[int, list[_Numbered]] = {}
        for places in by_problem.values():
            by_leaves.setdefault(len(places), []).append(places)
        for leaves, forests in by_leaves.items():
            yield from _parts(forests, max(1, self._settings.trainer.rows // leaves))

    def _singly(self, requests: Sequence[RolloutRequest]) -> Iterator[list[_Numbered]]:
        """Every request by itself, as evaluation asks."""
        yield from _parts([[place] for place in range(len(requests))], self._settings.trainer.rows)

    def _draw(
        self, batch: Sequence[_Numbered], requests: Sequence[RolloutRequest], *, held_out: bool
    ) -> list[Image]:
        """The leaves of one forest a problem, in the order of `batch`; their trees are kept if they will be trained."""
        tree, schedule = self._settings.tree, self._denoiser.schedule
        chosen = deterministic(schedule) if held_out else plan(tree, schedule, self._version)
        forest = TreeShape.of({} if held_out else tree.splits, len(batch[0]), len(chosen.steps))
        first = [requests[places[0]] for places in batch]
        prompts, seeds = [request.problem.prompt for request in first], [request.key for request in first]
        trees = grow(self._denoiser, forest, chosen, prompts, seeds, self._settings.trainer.rows)
        images = to_images(self._decoded(trees.leaves.flatten(0, 1)))
        if not held_out and tree.learn == "reverse":
            problems = [request.problem for request in first]
            self._grove.plant(trees, self._version, problems, list(_parts(images, forest.leaves)))
        return images

    @torch.no_grad()
    def _decoded(self, latents: Tensor) -> Tensor:
        device = next(self._denoiser.module.parameters()).device
        rows = self._settings.trainer.rows
        parts = [latents[first : first + rows] for first in range(0, len(latents), rows)]
        return torch.cat([self._denoiser.decode(part.to(device)).cpu() for part in parts])

    def _tree_loss(self, harvest: MatchedTrees, spec: UpdateSpec) -> TreeLoss:
        settings, trees = self._settings.tree, harvest.trees
        stale = harvest.version != self._version
        values = fuse(
            trees.forest,
            harvest.worth,
            trees.log_probs,
            beta=settings.fusion_beta,
            dimensions=trees.leaves[0, 0].numel(),
        )
        advantages = depth_advantages(values, settings.scale, settings.max_advantage)
        trained = harvest.present & (not (stale and spec.stale is Stale.MASK))
        kept = kept_edges(settings, trees, harvest.worth, trained, harvest.version)
        return TreeLoss(trees, advantages, kept, against_own=stale and spec.stale is Stale.RECOMPUTE)

    def _lessons(self, batch: Sequence[TrainGroup], found: Sequence[set[int]]) -> list[WeightedSample]:
        """What finished images teach: all of every prompt that has one without a tree."""
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
        return lessons(samples, self._settings.tree.max_advantage, self._settings.forward.foreign_share, own)

    @torch.no_grad()
    def _samples(self, member: TrainGroup) -> Iterator[Sample]:
        """Its scored images. What the strategy gives no advantage is compared with, not learnt from."""
        device = next(self._denoiser.module.parameters()).device
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
