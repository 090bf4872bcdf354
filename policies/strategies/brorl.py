"""BroRL (arXiv 2510.01180): hundreds of rollouts a problem, so that next to no right answer goes unsampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.advantage import batch_normalised
from policies.policy import UpdateSpec
from policies.rollout import Group, TrainGroup
from policies.strategies.base import Admission, StepInfo, Update
from policies.strategies.pods import down_sampled
from policies.strategies.settings import BrorlSettings
from policies.strategies.synchronous import Synchronous, resampled, weigh


@dataclass(frozen=True, slots=True)
class Brorl(Synchronous[BrorlSettings]):
    """A large N with dynamic sampling, batch-normalised advantages and a learning rate to match."""

    def admit(self, step: StepInfo, group: Group) -> Admission:
        """Dynamic sampling: a group without signal is replaced, as often as the settings allow in a round."""
        return resampled(step, group, self.settings.replace)

    def update(self, step: StepInfo, groups: Sequence[Group]) -> Update:
        """REINFORCE++-baseline over what is trained on, after down-sampling.

        The learning rate is scaled by sqrt(B_new / B_old), sec. 3.1, over the rollouts of this very batch.
        """
        kept = [down_sampled(group, self.settings.keep or len(group.rollouts)) for group in groups]
        advantages = batch_normalised([group.rewards for group in kept])
        batch = weigh(step, groups, map(TrainGroup, kept, advantages), self.settings.focal_gamma)
        trained = sum(len(group.rollouts) for group in kept)
        scale = math.sqrt(trained / self.settings.base_batch)
        return Update(batch, UpdateSpec(learning_rate_scale=scale, clip=self.settings.clip))
