"""Rollout strategies (GRPO, BroRL, DARS, APRIL): rollouts a problem, when sampling stops, the batch of the update."""

from __future__ import annotations

from policies.strategies.april import April
from policies.strategies.base import Strategy
from policies.strategies.brorl import Brorl
from policies.strategies.dars import Dars
from policies.strategies.grpo import Grpo
from policies.strategies.settings import AprilSettings, BrorlSettings, DarsSettings, StrategySettings


def trained_rollouts(settings: StrategySettings) -> int:
    """Rollouts of an own group that an update trains on; DARS adds to those of hard problems."""
    if isinstance(settings, AprilSettings):
        return trained_rollouts(settings.inner)
    return (isinstance(settings, BrorlSettings) and settings.keep) or settings.rollouts


def build_strategy(settings: StrategySettings) -> Strategy:
    """The strategy that the settings describe. The only place that knows them by name."""
    if isinstance(settings, AprilSettings):
        return April(settings, build_strategy(settings.inner))
    if isinstance(settings, BrorlSettings):
        return Brorl(settings)
    if isinstance(settings, DarsSettings):
        return Dars(settings)
    return Grpo(settings)
