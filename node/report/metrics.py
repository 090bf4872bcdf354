"""The run's metrics for Prometheus, by its own client library; docs/unattended.md explains each name.

Nothing is measured when they are read: all values are those of the newest round.
"""

from __future__ import annotations

import math
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, Summary
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from node.report.health import STATES, Standing
from node.storage.events import EvaluationEvent, RoundEvent
from swarm.transport.base import TransportStatus
from swarm.version import find_version

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# Counter of the transport -> metric.
BYTES = {"fetched_bytes": "received", "served_bytes": "served"}


class Metrics:
    """The metrics of one process. Counters begin at 0 with it, as Prometheus expects."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        Info("murmur_build", "The program that runs.", registry=own).info({"version": find_version()})
        self._gauges(own)
        self._counters(own)
        self._bytes_before: dict[str, int] = {}

    def _gauges(self, own: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"murmur_{name}", words, labels, registry=own)

        self._health = gauge("health", "1 for the state that /health says, 0 for the others.", "state")
        self._round = gauge("round", "The newest round.")
        self._ended = gauge("round_end_timestamp_seconds", "Unix time at which the newest round ended.")
        self._reward = gauge("reward", "Mean reward of the newest round's own rollouts.")
        self._task_reward = gauge("task_reward", "The same by task.", "task")
        self._external_reward = gauge("external_reward", "Mean reward of the peers' groups in the update.")
        self._held_out = gauge("held_out_reward", "pass@1 on held-out problems, as last evaluated.")
        self._task_held_out = gauge("task_held_out_reward", "The same by task.", "task")
        self._loss = gauge("loss", "Loss of the newest update; NaN where there was none.")
        self._grad_norm = gauge("grad_norm", "Gradient norm of the newest update; NaN where there was none.")
        self._entropy = gauge("entropy", "Entropy of the newest update's tokens; NaN where there was none.")
        self._peers = gauge("peers", "Peers whose groups arrived in the newest round.")
        self._announced = gauge("peers_announced", "Peers with a live announcement in the swarm.")
        self._pool = gauge("pool_groups", "Groups of peers that wait to be trained on.")
        self._alone = gauge("alone", "1 where peers are wanted and none is heard.")

    def _counters(self, own: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"murmur_{name}", words, labels, registry=own)

        self._rounds = Summary("murmur_round_seconds", "Rounds, and the seconds they took.", registry=own)
        self._trained = counter("trained_groups", "Groups in updates, by origin: own or external.", "origin")
        self._missing = counter("missing_groups", "Groups of peers that updates wanted and had not.")
        self._published = counter("published_groups", "Own groups that peers could fetch.")
        self._received = counter("received_groups", "Groups of peers that passed every check.")
        self._refused = counter("refused", "Groups or records of peers refused, by reason.", "reason")
        self._dropped = counter("dropped_groups", "Own groups not trained on, by reason.", "reason")
        self._diverged = counter("diverged_rounds", "Rounds whose update was not finite, and was undone.")
        self._tokens = counter("tokens", "Completion tokens sampled.")
        self._cpu = counter("cpu_seconds", "CPU seconds, those of the transport included.")
        self._transport_cpu = counter("transport_cpu_seconds", "Of these, the transport's.")
        self._bytes = counter("bytes", "Bytes of bodies, by direction: received or served.", "direction")
        for origin in ("own", "external"):
            self._trained.labels(origin)
        for direction in BYTES.values():
            self._bytes.labels(direction)

    def on_round(self, event: RoundEvent, network: TransportStatus) -> None:
        """Takes the figures of one round, and of the network at its end."""
        self._round.set(event.round)
        self._ended.set(time.time())
        self._reward.set(event.reward)
        for task, reward in event.rewards_by_task.items():
            self._task_reward.labels(task).set(reward)
        self._external_reward.set(_or_nan(event.external_reward))
        self._loss.set(_or_nan(event.loss))
        self._grad_norm.set(_or_nan(event.grad_norm))
        self._entropy.set(_or_nan(event.entropy))
        self._peers.set(event.peers)
        self._announced.set(network.peers_seen)
        self._pool.set(event.pool)
        self._alone.set(event.alone)
        self._count(event)
        self._count_bytes(network)

    def _count(self, event: RoundEvent) -> None:
        self._rounds.observe(event.seconds)
        self._trained.labels("own").inc(event.trained_local)
        self._trained.labels("external").inc(event.trained_external)
        self._missing.inc(event.missing_external)
        self._published.inc(event.published)
        self._received.inc(event.received)
        for reason, count in event.refused.items():
            self._refused.labels(reason).inc(count)
        for reason, count in event.dropped.items():
            self._dropped.labels(reason).inc(count)
        self._diverged.inc(event.diverged is not None)
        self._tokens.inc(event.tokens)
        self._cpu.inc(max(0.0, event.cpu_seconds))
        self._transport_cpu.inc(max(0.0, event.transport_cpu_seconds))

    def _count_bytes(self, network: TransportStatus) -> None:
        for name, direction in BYTES.items():
            total, before = network.counters.get(name, 0), self._bytes_before.get(name, 0)
            # A transport process that was started anew counts from 0.
            self._bytes.labels(direction).inc(total - before if total >= before else total)
            self._bytes_before[name] = total

    def on_evaluation(self, event: EvaluationEvent) -> None:
        self._held_out.set(event.reward)
        for task, reward in event.rewards_by_task.items():
            self._task_held_out.labels(task).set(reward)

    def page(self, standing: Standing) -> bytes:
        """The text that Prometheus reads."""
        for state in STATES:
            self._health.labels(state).set(state == standing.state)
        return bytes(generate_latest(self._registry))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
