"""SAPO's sampler (arXiv 2509.08721, Algorithm 1): I local groups and J external ones, trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.rollout import Group
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.group_selection import Select, uniform_over_peers


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update trains on, and what was missing from it."""

    own: tuple[Group, ...]
    external: tuple[Group, ...]
    short: int  # external groups that were asked for and not there

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.own + self.external


@dataclass(frozen=True, slots=True)
class Mix:
    """How many groups an update draws, and how. The best of the paper's four settings was 4 and 4."""

    local: int  # I
    external: int  # J
    select: Select = uniform_over_peers  # of the pool's groups


def draw_batch(
    own: Sequence[Group], pool: ExternalPool, mix: Mix, generator: np.random.Generator, now: float
) -> Batch:
    """Draws I of the own admitted groups, uniformly and without replacement, and J of the pool's by `mix.select`.

    Groups of zero advantage are set aside before: external ones by the pool, own ones by the strategy. Own groups
    fill the places of missing external ones, as far as there are any. What is drawn from the pool is gone from it.
    """
    external = pool.draw(mix.external, generator, now, mix.select)
    short = mix.external - len(external)
    places = min(len(own), mix.local + short)
    chosen = sorted(generator.choice(len(own), size=places, replace=False)) if places else []
    return Batch(own=tuple(own[index] for index in chosen), external=external, short=short)
