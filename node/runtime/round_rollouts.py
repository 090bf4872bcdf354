"""From what a round did to its rollouts as the store keeps them: own, external and refused."""

from __future__ import annotations

from collections.abc import Sequence

from node.runtime.round_events import RoundOutcome
from node.storage.rollout_rows import (
    ALL_ALIKE,
    DIVERGED,
    NOT_DRAWN,
    RefusedGroup,
    RoundRollouts,
    ScoredGroup,
)
from policies.rollout import Group, TrainGroup
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Verdict


def describe_rollouts(outcome: RoundOutcome) -> RoundRollouts:
    """Every own group that was decided on, what of peers was drawn or has nothing to teach, and what was refused."""
    undone = outcome.diverged is not None
    advantages = {} if undone else _advantages(outcome.trained)
    untrained = DIVERGED if undone else NOT_DRAWN
    groups = [
        _scored(decision.group, advantages, decision.admission.reason or untrained)
        for decision in outcome.phase.decisions
    ]
    groups += [_scored(group, advantages, untrained) for group in outcome.batch.external]
    groups += [_scored(group, {}, ALL_ALIKE) for group in outcome.exchanged.set_aside]
    refused = [
        _refused(outcome.round, verdict, verdict.reason)
        for verdict in outcome.exchanged.verdicts
        if verdict.reason is not None
    ]
    return RoundRollouts(outcome.round, groups, refused)


def _advantages(trained: Sequence[TrainGroup]) -> dict[int, float]:
    """By rollout: a strategy may leave some of a group out of its update, and hands the others on as they are."""
    return {
        id(rollout): advantage
        for member in trained
        for rollout, advantage in zip(member.group.rollouts, member.advantages, strict=True)
    }


def _scored(group: Group, advantages: dict[int, float], reason: str) -> ScoredGroup:
    given = tuple(advantages.get(id(rollout)) for rollout in group.rollouts)
    return ScoredGroup(group, given, None if any(value is not None for value in given) else reason)


def _refused(round_number: int, verdict: Verdict, reason: Reason) -> RefusedGroup:
    return RefusedGroup(
        round=round_number,
        peer=verdict.peer,
        task=verdict.task,
        seed=verdict.seed,
        rollouts=verdict.rollouts,
        reason=reason.value,
        detail=verdict.detail,
    )
