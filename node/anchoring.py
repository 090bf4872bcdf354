"""The own completions that anchored mixing sets beside a peer's: sampled, scored, never published."""

from __future__ import annotations

from dataclasses import replace

from node.config import SamplerConfig
from policies.policy import RolloutSource, sample_groups
from policies.seeds import derive_generator, derive_seed
from policies.strategies.phase import Score
from swarm.mixing import mix
from swarm.sampler import Batch


def anchored(batch: Batch, policy: RolloutSource, score: Score, sampler: SamplerConfig, seed: int) -> Batch:
    """The batch with a mixed group for each external one; as it is where whole groups are trusted.

    `seed` is the round's own: equal seeds and weights give equal anchors.
    """
    if sampler.mixing == "trusting" or not batch.external:
        return batch
    problems = [group.problem for group in batch.external]
    own = map(score, sample_groups(policy, problems, sampler.anchors, derive_seed(seed, "anchors")))
    generator = derive_generator(seed, "guests")
    pairs = zip(own, batch.external, strict=True)
    return replace(batch, mixed=tuple(mix(*pair, sampler.guests, generator) for pair in pairs))
