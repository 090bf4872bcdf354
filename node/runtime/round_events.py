"""From what a round did to the events that describe it."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from node.storage.events import EvaluationEvent, ExternalEvent, PeerEvent, ProblemEvent, RoundEvent
from policies.policy import SamplerAgreement, UpdateReport
from policies.rollout import Finish, Group, TrainGroup
from policies.strategies.difficulty import RIGHT_REWARD, measure
from policies.strategies.rollout_phase import RolloutPhase
from policies.workers.pool import pool_cpu_seconds
from swarm.admission.peer_records import PeerRecords
from swarm.admission.verdict import Outcome, Verdict
from swarm.gossip.service import Exchanged
from swarm.process import ended_children_cpu_seconds
from swarm.sampling.sampler import Batch
from swarm.transport.base import TransportStatus

KNOWN_TEXT = "known"  # the reason of rollouts left out because another peer gave them before
# What a round spends its time on, in this order; what is left of its seconds is bookkeeping.
PHASES = ("sampling", "scoring", "exchange", "update")
DHT_VALUE = "dht_value"  # the reason under which a peer's event counts values that the DHT did not take


class Stopwatch:
    """Wall and processor seconds of one round, from when it is made to `stop`.

    Processor seconds count every thread of the process and the scorers' processes that ended in the round. Those of
    the transport count from the round before on, so that what it does between two rounds counts too.
    """

    def __init__(
        self, transport: Callable[[], TransportStatus], told: float, entered: Callable[[str], None]
    ) -> None:
        """`told`: CPU seconds of the transport that earlier rounds counted. `entered` hears of each phase's start."""
        self._transport_status, self._told, self._entered = transport, told, entered
        self._wall_before, self._own_before = time.perf_counter(), _own_cpu_seconds(transport())
        # Seconds of the round, known from `stop` on: of the clock, and of processors for the node and its transport.
        self.wall = self.own = self.transport = 0.0
        self.phases = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str, within: str | None = None) -> Iterator[None]:
        """Counts the wall seconds of a phase; those of one `within` another are not the other's."""
        if within is None:
            self._entered(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.phases[name] += spent
            if within is not None:
                self.phases[within] -= spent

    def stop(self) -> None:
        status = self._transport_status()
        self.wall = time.perf_counter() - self._wall_before
        self.own = _own_cpu_seconds(status) - self._own_before
        self.transport = status.cpu_seconds - self._told

    @property
    def cpu(self) -> float:
        return self.own + self.transport


def _own_cpu_seconds(status: TransportStatus) -> float:
    """Of this process and its ended children, transports apart."""
    here = time.process_time() + pool_cpu_seconds()  # workers run on
    return here + ended_children_cpu_seconds() - status.ended_cpu_seconds


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """All that one round did, whether or not its update was finite."""

    round: int
    phase: RolloutPhase
    exchanged: Exchanged
    batch: Batch
    trained: Sequence[TrainGroup]  # what the update was made of, with its advantages
    update: UpdateReport | None  # None: nothing to train on, or the update was undone
    diverged: str | None  # why the update was undone
    pool: int  # groups waiting after the draw
    policy_version: int
    alone: bool  # peers were wanted and silent
    skipped_prompts: int = 0  # problems that were drawn and are too long for the policy's settings


def describe_round(outcome: RoundOutcome, watch: Stopwatch) -> RoundEvent:
    """The event of one round; every field's meaning stands at `RoundEvent`."""
    watch.stop()
    phase, exchanged, batch, update = outcome.phase, outcome.exchanged, outcome.batch, outcome.update
    arrived = [verdict for verdict in exchanged.verdicts if verdict.checked]
    own, rates = phase.groups, [decision.difficulty.rate for decision in phase.decisions]
    return RoundEvent(
        round=outcome.round,
        reward=statistics.fmean(group.mean_reward for group in own) if own else 0.0,
        rewards_by_task=rewards_by_task(own),
        published=exchanged.offered,
        received=len(arrived),
        set_aside=_set_aside(arrived),
        refused=_refused(exchanged.verdicts),
        trained_local=len(batch.own) if outcome.diverged is None else 0,
        trained_external=len(batch.external) if outcome.diverged is None else 0,
        missing_external=batch.short,
        pool=outcome.pool,
        peers=len({verdict.peer for verdict in arrived}),
        policy_version=outcome.policy_version,
        loss=update.loss if update else None,
        grad_norm=update.grad_norm if update else None,
        entropy=update.entropy if update else None,
        kl=update.kl if update else None,
        tokens=phase.effort.tokens,
        seconds=watch.wall,
        cpu_seconds=watch.cpu,
        transport_cpu_seconds=watch.transport,
        stage_one=float(statistics.fmean(rates)) if rates else 0.0,
        hard=sum(2 * rate < 1 for rate in rates),
        dropped=dict(phase.dropped),
        carried=phase.effort.carried,
        left=phase.effort.left,
        idle_share=phase.effort.idle_share,
        stale_share=phase.stale_share,
        alone=outcome.alone,
        external_reward=_mean_reward(batch.external),
        diverged=outcome.diverged,
        cut_share=_cut_share(own),
        phases=dict(watch.phases),
        no_verdict=phase.effort.no_verdict,
        why_unjudged=phase.effort.why_unjudged,
        skipped_prompts=outcome.skipped_prompts,
        shortage=update.shortage if update else None,
        update_peak_bytes=update.peak_bytes if update else None,
        **_agreement(update.agreement if update else None),
    )


def _agreement(found: SamplerAgreement | None) -> dict[str, Any]:
    """What a round's event tells of sampler and trainer."""
    if found is None:
        return {}
    disagreement = (
        f"the trainer scores {found.tokens} fresh tokens {found.mean:.2g} nats off what was sampled, at most "
        f"{found.largest:.2g}, and clips {found.clipped_share:.0%}: what samples is not what trains; set "
        "generation.arithmetic = 'float32' and trainer.bf16 = false, and report it if it stays"
    )
    return {
        "logprob_mean": found.mean,
        "logprob_largest": found.largest,
        "fresh_clipped": found.clipped_share,
        "disagreement": disagreement if found.off else None,
    }


def describe_problems(round_number: int, phase: RolloutPhase) -> list[ProblemEvent]:
    """One event for each problem that the round decided on."""
    return [
        ProblemEvent(
            round=round_number,
            task=decision.group.problem.task,
            seed=decision.group.problem.seed,
            correct=decision.difficulty.correct,
            rollouts=decision.difficulty.rollouts,
            sampled=len(decision.group.rollouts),
            reward=decision.group.mean_reward,
            dropped=decision.admission.reason,
        )
        for decision in phase.decisions
    ]


def describe_peers(
    round_number: int, verdicts: Iterable[Verdict], refused_values: Mapping[str, int], records: PeerRecords
) -> list[PeerEvent]:
    """One event for each peer of whom something was examined, or did not come, since the last round.

    `refused_values` are values by peer that this node's part of the DHT did not take.
    """
    by_peer: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_peer[verdict.peer].append(verdict)
    for peer in {*refused_values, *records.drain_touched()}:
        by_peer[peer]  # with no verdict, as far as nothing else came of it
    return [
        PeerEvent(
            round=round_number,
            peer=peer,
            received=sum(verdict.checked for verdict in theirs),
            set_aside=_set_aside(theirs),
            refused=_refused(theirs) | ({DHT_VALUE: refused_values[peer]} if peer in refused_values else {}),
            left_out=_left_out(theirs),
            standing=records.standing(peer).value,
            why=records.reason(peer),
            usefulness=(record := records.record(peer)).usefulness,
            usefulness_error=record.usefulness_error,
            habits=record.habits,
            address=address_kind(record.host),
        )
        for peer, theirs in by_peer.items()
    ]


def address_kind(host: str) -> str:
    """`public IPv4`, `private IPv6`, `loopback`, `DNS name`; empty for none."""
    try:
        found = ip_address(host)
    except ValueError:
        return "DNS name" if host else ""
    if found.is_loopback:
        return "loopback"
    return f"{'public' if found.is_global else 'private'} IPv{found.version}"


def describe_external(round_number: int, batch: Batch) -> list[ExternalEvent]:
    """One event for each group of a peer that the round's update trains on."""
    problems = [(group.origin, group.problem) for group in batch.external]
    return [
        ExternalEvent(round_number, origin, problem.task, problem.seed)
        for origin, problem in problems
        if origin is not None
    ]


def describe_evaluation(round_number: int, groups: Sequence[Group]) -> EvaluationEvent:
    return EvaluationEvent(
        round_number,
        statistics.fmean(group.mean_reward for group in groups),
        rewards_by_task(groups),
        statistics.fmean(map(_share_right, groups)),
        _means_by_task((group.problem.task, [_share_right(group)]) for group in groups),
    )


def _share_right(group: Group) -> float:
    return float(measure(group.rewards, RIGHT_REWARD).rate)


def rewards_by_task(groups: Sequence[Group]) -> dict[str, float]:
    """Mean reward of each task's rollouts."""
    return _means_by_task((group.problem.task, group.rewards) for group in groups)


def _means_by_task(values: Iterable[tuple[str, Sequence[float]]]) -> dict[str, float]:
    by_task: dict[str, list[float]] = defaultdict(list)
    for task, found in values:
        by_task[task].extend(found)
    return {task: statistics.fmean(found) for task, found in sorted(by_task.items())}


def _mean_reward(groups: Sequence[Group]) -> float | None:
    return statistics.fmean(group.mean_reward for group in groups) if groups else None


def _cut_share(groups: Sequence[Group]) -> float:
    finishes = [rollout.finish for group in groups for rollout in group.rollouts]
    return sum(finish is Finish.LENGTH for finish in finishes) / max(1, len(finishes))


def _set_aside(verdicts: Iterable[Verdict]) -> int:
    return sum(verdict.outcome is Outcome.SET_ASIDE for verdict in verdicts)


def _left_out(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Rollouts by reason: those that could not be read, and those whose texts were known."""
    counts = Counter(reason.value for verdict in verdicts for reason in verdict.left_out)
    counts[KNOWN_TEXT] += sum(verdict.known for verdict in verdicts)
    return dict(+counts)


def _refused(verdicts: Iterable[Verdict]) -> dict[str, int]:
    return dict(Counter(verdict.reason.value for verdict in verdicts if verdict.reason is not None))
