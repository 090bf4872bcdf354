"""SAPO's draw (arXiv 2509.08721, Algorithm 1): I local groups and J external ones, trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.rollout import Group
from swarm.pool import Pool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update trains on, and what was missing from it."""

    own: tuple[Group, ...]
    external: tuple[Group, ...]
    set_aside: int  # own groups of zero advantage, left out before the draw
    short: int  # external groups that were asked for and not there

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.own + self.external


@dataclass(frozen=True, slots=True)
class Mix:
    """How many groups an update draws. The best of the paper's four settings was 4 and 4."""

    local: int  # I
    external: int  # J


def draw_batch(
    own: Sequence[Group], pool: Pool, mix: Mix, generator: np.random.Generator, now: float
) -> Batch:
    """Draws I of the own scored groups and J of the pool's, uniformly and without replacement.

    Groups of zero advantage are set aside first, as in the paper's experiments, though there for external
    groups only. Own groups fill the places of missing external ones, as far as there are any. What is drawn
    from the pool is gone from it. Raises ValueError when an own group is unscored.
    """
    signal = [group for group in own if not group.zero_advantage]
    external = pool.draw(mix.external, generator, now)
    short = mix.external - len(external)
    places = min(len(signal), mix.local + short)
    chosen = sorted(generator.choice(len(signal), size=places, replace=False)) if places else []
    return Batch(
        own=tuple(signal[index] for index in chosen),
        external=external,
        set_aside=len(own) - len(signal),
        short=short,
    )
