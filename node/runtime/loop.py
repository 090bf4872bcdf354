"""The training loop: one round of a node, top to bottom; the file to read first.

A silo, a swarm node and a diffusion node run this same loop; they differ in the transport and policy that
`node.runtime.build` put together. Peers are never waited for: a round takes what has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from node.config.schema import Config
from node.config.sections.sampler import SamplerConfig
from node.runtime.notices import Notices
from node.runtime.problems import problems_of, with_canonical_seeds
from node.runtime.round_events import (
    RoundOutcome,
    Stopwatch,
    describe_evaluation,
    describe_external,
    describe_peers,
    describe_problems,
    describe_round,
)
from node.runtime.round_rollouts import describe_rollouts
from node.runtime.swarm_feedback import SwarmFeedback, adaptive_split, updated
from node.storage.best_checkpoint import keep_if_best
from node.storage.checkpoint import Checkpoints, NodeState
from node.storage.events import EvaluationEvent, LifeEvent, RoundEvent, Store
from node.storage.trust_lists import TrustFile
from policies.advantage import positive_part
from policies.policy import ComparesGradients, DivergedError, Policy, UpdateSpec, sample_groups
from policies.rollout import Group, TrainGroup
from policies.seeds import derive_generator, derive_seed
from policies.strategies.base import StepInfo, Strategy, Update
from policies.strategies.open_groups import OpenGroups
from policies.strategies.rollout_phase import rollout_phase
from policies.tasks.curriculum import Curriculum
from policies.tasks.task import Task, score_group
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.usefulness import OwnDirections
from swarm.gossip.service import Gossip
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.group_selection import Select, uniform_over_groups
from swarm.sampling.sampler import Mix, draw_batch
from swarm.sampling.sender_weight import fair_weights

logger = logging.getLogger(__name__)

# A run whose updates keep blowing up is ended instead of burning its owner's power.
MAX_DIVERGED_ROUNDS = 3


class Watcher(Protocol):
    """Whoever shows a run to its user. Called between rounds, in the loop's thread."""

    def on_round(self, event: RoundEvent) -> None: ...

    def on_evaluation(self, event: EvaluationEvent) -> None: ...

    def on_notice(self, event: LifeEvent) -> None: ...

    def should_stop(self) -> bool: ...


@dataclass(slots=True)
class Node:
    """The parts of one running node."""

    config: Config
    tasks: Mapping[str, Task]  # by full name
    curriculum: Curriculum
    policy: Policy
    strategy: Strategy
    rollouts: OpenGroups  # own groups under way; external ones are in `pool`
    verifier: RolloutVerifier
    pool: ExternalPool
    gossip: Gossip
    store: Store
    checkpoints: Checkpoints
    clock: Callable[[], float]  # Unix seconds
    owner: TrustFile  # whom the owner allows and denies, changed as the run goes on
    round: int = 0  # the round being played, or the last one that ended
    diverged: int = 0  # rounds in a row whose update was not finite
    transport_cpu: float = 0.0  # seconds of the transport that rounds have counted
    feedback: SwarmFeedback = field(default_factory=SwarmFeedback)
    own_directions: OwnDirections = field(default_factory=OwnDirections)
    notices: Notices = field(default_factory=Notices)
    entered: Callable[[str], None] = lambda phase: None  # hears of each phase of a round as it starts
    check_place: Callable[[], None] = lambda: None  # raises FolderLostError where the run folder is gone


def play_round(node: Node) -> RoundEvent:
    """Generate, score, publish, collect, sample, update; stores all that happened, and returns it as one event.

    An update that is not finite is undone by the policy, and the event says so: the round was played all the same.
    """
    watch = Stopwatch(node.gossip.transport_status, node.transport_cpu, node.entered)
    local, external = local_external_split(node.config.sampler, node.feedback)
    step = StepInfo(node.round, node.policy.version, wanted=local)
    draw = problems_of(
        node.round, node.curriculum, node.tasks, node.feedback, node.config.sampler.retry_unsolved
    )

    def scored(group: Group) -> Group:
        with watch.phase("scoring", within="sampling"):
            return score(group, node.tasks)

    with watch.phase("sampling"):
        phase = rollout_phase(node.policy, node.strategy, node.rollouts, draw, scored, step)

    with watch.phase("exchange"):
        _offer(node, phase.groups)
        exchanged = node.gossip.drain()  # since the last round; accepted groups are in the pool by now
    generator = derive_generator(node.config.run_seed, "sample", node.round)
    # The strategy chose the own groups; all of them train.
    mix = Mix(len(phase.admitted), external, selection_of(node))
    batch = draw_batch(phase.admitted, node.pool, mix, generator, node.clock())
    # Counted before the update, amid which more groups come: they count as received next round.
    waiting = len(node.pool)
    taken_over = {(unsolved.task, unsolved.seed) for unsolved in node.feedback.unsolved}
    node.feedback = updated(node.feedback, phase.groups, batch.external, external, exchanged.verdicts)
    update = node.strategy.update(step, batch.groups)
    filtered = guarded(node, update.batch)
    learned, diverged = None, None
    try:
        with watch.phase("update"):
            learned = node.policy.update(filtered, spec_of(node, update)) if filtered else None
    except DivergedError as error:
        diverged = str(error)

    network = node.gossip.transport_status()
    outcome = RoundOutcome(
        round=node.round,
        phase=phase,
        exchanged=exchanged,
        batch=batch,
        trained=filtered,
        update=learned,
        diverged=diverged,
        pool=waiting,
        policy_version=node.policy.version,
        alone=node.gossip.alone,
        skipped_prompts=node.curriculum.take_skipped(),
    )
    event = describe_round(outcome, watch)
    keep(node, outcome, event, node.notices.new_refused_values(network.refused_values))
    node.transport_cpu += event.transport_cpu_seconds
    node.notices.after_round(event, phase.groups, exchanged.verdicts, taken_over)
    node.notices.after_look(node.round, {**network.warnings, **node.gossip.warnings})
    return event


def _offer(node: Node, groups: Sequence[Group]) -> None:
    """Own groups, to whoever learns from them here and to peers; none where no verifier came to an end."""
    node.verifier.habits.note(groups)
    node.curriculum.note(groups)
    if groups:
        named = with_canonical_seeds(groups, node.tasks)
        node.gossip.publish(named, node.round, node.policy.version, node.policy.fingerprint)


def keep(node: Node, outcome: RoundOutcome, event: RoundEvent, refused_values: Mapping[str, int]) -> None:
    """Writes all that is kept of a round, or nothing of it: a kill loses the round under way at most."""
    batch = outcome.batch if outcome.diverged is None else None
    node.store.append(
        *describe_problems(node.round, outcome.phase),
        *describe_peers(node.round, outcome.exchanged.verdicts, refused_values, node.verifier.records),
        *(describe_external(node.round, batch) if batch else ()),
        event,
        rollouts=describe_rollouts(outcome),
    )


def selection_of(node: Node) -> Select:
    """How an update draws from the pool: evenly, or as fair to networks as what is fetched, known peers first."""
    if node.config.sampler.draw == "uniform":
        return uniform_over_groups
    hold = node.config.sampler.max_age if node.config.trust.hold_places else None
    return lambda waiting, count, generator: node.verifier.records.select(
        [candidate.peer for candidate in waiting], count, generator, hold=hold
    )


def score(group: Group, tasks: Mapping[str, Task]) -> Group:
    """The group with every rollout's reward from its task's verifier, or without a verdict."""
    return score_group(tasks[group.problem.task], group)


def local_external_split(sampler: SamplerConfig, feedback: SwarmFeedback) -> tuple[int, int]:
    """I and J of the round to come."""
    given = sampler.local, sampler.external
    return adaptive_split(*given, feedback) if sampler.split == "adaptive" else given


def filter_advantages(member: TrainGroup, sampler: SamplerConfig) -> TrainGroup:
    """The group with the advantages that the config wants of it, where it is an external one."""
    if member.group.external and sampler.external_advantages == "positive":
        return replace(member, advantages=positive_part(member.advantages))
    return member


def spec_of(node: Node, update: Update) -> UpdateSpec:
    """The update as the strategy wants it, with the config's floor for what peers recommend."""
    return replace(update.spec, external_floor=node.config.trust.external_floor)


def measure_usefulness(node: Node, batch: Sequence[TrainGroup]) -> None:
    """Into the peers' records: the own rewards are the judge. Before the update, on groups as they came."""
    if not _due(node.round, node.config.trust.usefulness_every) or not isinstance(
        node.policy, ComparesGradients
    ):
        return
    right = [replace(member, advantages=positive_part(member.advantages)) for member in batch]
    found = zip(batch, node.policy.directions(right), strict=True)
    pulls = [(m.group.origin, m.group.problem.task, way) for m, way in found if way is not None]
    own = [(task, way) for peer, task, way in pulls if peer is None]
    theirs = [(peer, task, way) for peer, task, way in pulls if peer is not None]
    cosines = node.own_directions.compare(own, [(task, way) for _, task, way in theirs])
    for (peer, _, _), cosine in zip(theirs, cosines, strict=True):
        if cosine is not None:
            node.verifier.records.note_usefulness(peer, cosine)


def guarded(node: Node, batch: Sequence[TrainGroup]) -> list[TrainGroup]:
    """The batch as the config wants it, without what peers alone would teach, each peer within its fair share."""
    measure_usefulness(node, batch)
    batch = [filter_advantages(member, node.config.sampler) for member in batch]
    if node.config.trust.trusting:
        return batch
    kept = []
    for found in map(node.verifier.habits.guard, batch):
        kept.append(found.member)
        if peer := found.member.group.origin:
            node.verifier.records.note_trained(peer, found.masked > 0)
    return fair_weights(kept)


def run(node: Node, watcher: Watcher) -> None:
    """Plays rounds until the config's number is reached or the watcher says stop; saves as it goes and at the end.

    Raises DivergedError after MAX_DIVERGED_ROUNDS rounds in a row whose update was not finite, FolderLostError where
    the run folder was taken away.
    """
    if node.round == 0:
        evaluate(node, watcher)
    while node.round < node.config.rounds and not watcher.should_stop():
        node.check_place()  # what would be learned from here on were lost
        node.round += 1
        heed_owner(node)
        event = play_round(node)
        watcher.on_round(event)
        for notice in node.notices.drain():
            node.store.append(notice)
            watcher.on_notice(notice)
        if node.round == node.config.rounds or _due(node.round, node.config.evaluation.every):
            evaluate(node, watcher)
        if _due(node.round, node.config.checkpoint.every):
            save(node)
        note_divergence(node, event)
    save(node)


def heed_owner(node: Node) -> None:
    """What the owner has said of peers since the round before holds from now on; groups that wait count too."""
    if lists := node.owner.news():
        node.verifier.records.trust(lists.allow, lists.deny)


def evaluate(node: Node, watcher: Watcher) -> None:
    """pass@1 on the held-out problems, the same for every node and round."""
    if not (per_task := node.config.evaluation.problems):
        return
    problems = node.curriculum.held_out(per_task)
    seed = derive_seed(node.config.run_seed, "evaluate")
    groups = sample_groups(node.policy, problems, 1, seed, held_out=True)
    judged = [scored for group in groups if (scored := score(group, node.tasks).judged).rollouts]
    if not judged:
        logger.warning("round %d: no verifier came to an end in the evaluation; it is left out", node.round)
        return
    event = describe_evaluation(node.round, judged)
    node.store.append(event)
    watcher.on_evaluation(event)
    if node.config.checkpoint.keep_best and node.round > 0:  # the start is no checkpoint of the run's
        keep_if_best(save(node), event, node.config.checkpoint.best_by)


def note_divergence(node: Node, event: RoundEvent) -> None:
    """A bad update is data: it is counted, and the run goes on with the weights of before.

    Raises DivergedError after MAX_DIVERGED_ROUNDS of them in a row, when all that the rounds did is saved.
    """
    if event.diverged is None:
        node.diverged = 0
        return
    node.diverged += 1
    logger.warning("round %d: %s (%d in a row)", node.round, event.diverged, node.diverged)
    node.store.append(LifeEvent(node.round, "diverged", event.diverged))
    if node.diverged >= MAX_DIVERGED_ROUNDS:
        save(node)
        raise DivergedError(
            f"{node.diverged} updates in a row were not finite: lower policy.trainer.learning_rate"
        )


def save(node: Node) -> Path:
    """Everything that a resumed run needs to go on as if it had not stopped. Returns the checkpoint's folder."""
    node.check_place()
    return node.checkpoints.save(
        node.policy,
        NodeState(
            node.round,
            node.pool.snapshot(),
            node.verifier.guard.snapshot(),
            node.rollouts.snapshot(),
            node.feedback.snapshot(),
            node.verifier.records.snapshot(),
            node.verifier.habits.snapshot(),
            node.curriculum.rates.snapshot() if node.curriculum.rates else None,
            node.own_directions.snapshot(),
            node.verifier.records.held.snapshot(),
        ),
    )


def resume(node: Node) -> int:
    """Restores the newest checkpoint. Returns how many rounds after it are played again."""
    state = node.checkpoints.load_latest(node.policy)
    if state is None:
        return node.store.rewind(-1)
    node.round = state.round
    node.pool.restore(state.pool)
    node.verifier.guard.restore(state.guard)
    node.rollouts.restore(state.rollouts)
    node.feedback = SwarmFeedback.restored(state.feedback)
    node.verifier.records.restore(state.peers or {})
    node.verifier.habits.restore(state.habits or {})
    node.own_directions.restore(state.directions or {})
    node.verifier.records.held.restore(state.places or {})
    if node.curriculum.rates is not None:
        node.curriculum.rates.restore(state.rates)
    return node.store.rewind(state.round)


def _due(round_number: int, every: int) -> bool:
    return every > 0 and round_number % every == 0
