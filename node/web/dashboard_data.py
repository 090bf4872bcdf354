"""The dashboard's data: the events of a run and of its silo baseline, read and summed up as plain data.

Rewards are means in [0, 1]. CPU seconds are of all threads and spent in rounds, as wherever compute is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from node.baseline.equal_compute import cpu_seconds, rounds_to_even, transport_cpu_seconds
from node.baseline.uplift import LEVEL, Point, answers_of, compare, compare_early, evaluations_by_cpu, pooled
from node.config.roles import wants_baseline
from node.config.schema import Config
from node.config.sections.swarm import SiloConfig
from node.storage.events import History, RoundEvent, own_peer
from node.storage.influence import influences
from node.storage.rollout_history import RolloutHistory
from node.storage.run_folder import RunFolder
from node.storage.trust_lists import TrustFile, Word
from node.ui.inspect.trend import Trend, trend_of
from node.ui.inspect.weights import Weights, weights_of
from node.ui.peer_rows import PeerHistoryRow, peer_history
from node.ui.standing import standing
from node.web.curves import curve, moving, thinned
from node.web.figures import finite, span
from node.web.learning import Learning, learning_of
from swarm.visible_text import one_line

# none: no baseline, or nothing to compare by. awaited: one was not evaluated yet. early: both were, but are not done.
Stage = Literal["none", "awaited", "early", "done"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where what is known of one run comes from."""

    config: Config
    history: History
    resumption: str = ""  # the command that goes on with it
    in_use: bool = True  # a process holds the run's folder
    folder: RunFolder | None = None
    cause: str = ""  # what ended it at once, where that is known


@dataclass(frozen=True, slots=True)
class Track:
    """How one policy, the node's or the baseline's, has fared."""

    state: str  # starting | running | finished | stopped | diverged | ended early; a baseline: waits to go on
    note: str
    quiet_seconds: float | None  # since its newest event; None before the first
    round: int
    rounds: int  # to be played in all
    policy_version: int
    cpu_seconds: float  # in rounds, the transport's included
    transport_cpu_seconds: float
    rewards: list[Point]  # of the own rollouts
    recent: list[Point]  # the same, means over RECENT rounds
    held_out: list[Point]
    first_by_task: dict[str, float]  # held-out reward at the first evaluation, and at the newest
    last_by_task: dict[str, float]
    evaluated: int | None  # the round of the newest evaluation


@dataclass(frozen=True, slots=True)
class Comparison:
    """What can be said of the node against its baseline by now; `figures` are those of `Uplift.as_dict`."""

    stage: Stage
    words: str
    figures: dict[str, float] | None
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Sharing:
    """Groups that the node gave and took, over all rounds."""

    published: int
    received: int
    set_aside: int
    refused: dict[str, int]
    trained_local: int
    trained_external: int
    missing_external: int
    external_share: float | None  # of the trained groups; None before the first


@dataclass(frozen=True, slots=True)
class PeerPart:
    """What the groups of one peer brought; the figures of `Influence` and its words."""

    peer: str
    updates: int
    share: float
    reward_before: float | None
    reward_after: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All that the page shows at its first look; a round, a peer and rollouts are asked for by themselves."""

    name: str
    silo: bool  # there are no peers to tell of
    peer: str  # the node's own PeerID; empty before it is known
    node: Track
    baseline: Track | None
    comparison: Comparison
    sharing: Sharing
    peers: list[PeerHistoryRow]
    parts: list[PeerPart]  # the most helpful peer first
    learning: Learning
    trend: Trend
    words: dict[str, Word]  # the owner's, by peer
    refusals: dict[str, str]  # by peer, what was wrong with the group that was refused last
    weights: Weights | None  # None where the run has no folder of its own


def project(
    name: str,
    node: Source,
    baseline: Source | None,
    now: float,
    demo: Sequence[tuple[Source, Source]] = (),
) -> Dashboard:
    """The page's data at `now`, Unix seconds; safe beside running writers.

    `demo` has the nodes of the demo that the run is of, each with its baseline: they are judged together.
    """
    trust = node.config.trust
    words = TrustFile(node.folder.trust, trust.allow, trust.deny).words() if node.folder else {}
    rounds, life = node.history.rounds(), node.history.life()
    track = _track(node, now)
    control = _sent_on(_track(baseline, now), node, baseline) if baseline else None
    return Dashboard(
        name=name,
        silo=isinstance(node.config.swarm, SiloConfig),
        peer=own_peer(life),
        node=track,
        baseline=control,
        comparison=_with_all(_comparison(node, baseline, track, control), demo),
        sharing=_sharing(rounds),
        peers=peer_history(node.history),
        parts=_parts(node.history),
        learning=learning_of(rounds, node.history.problems()),
        trend=trend_of(rounds, node.history.evaluations()),
        words=words,
        refusals=_refusals(node.folder) if node.folder else {},
        weights=weights_of(node.folder) if node.folder else None,
    )


def plain(dashboard: Dashboard) -> dict[str, Any]:
    """The same in what JSON has: figures that are not finite become None."""
    return dict(finite(asdict(dashboard)))


def _refusals(folder: RunFolder) -> dict[str, str]:
    newest = RolloutHistory(folder.events).newest_refusals()
    return {peer: one_line(detail, 200) for peer, detail in newest.items()}


def _parts(history: History) -> list[PeerPart]:
    return [
        PeerPart(row.peer, row.updates, row.share, row.reward_before, row.reward_after, row.words)
        for row in influences(history)
    ]


def _track(source: Source, now: float) -> Track:
    rounds, evaluations = source.history.rounds(), source.history.evaluations()
    written = source.history.last_written()
    life, goes_on = source.history.life(), source.resumption
    state, note = standing(life, rounds, in_use=source.in_use, resumption=goes_on, cause=source.cause)
    own = curve(rounds)
    return Track(
        state=state,
        note=note,
        quiet_seconds=None if written is None else max(0.0, now - written),
        round=rounds[-1].round if rounds else 0,
        rounds=source.config.rounds,
        policy_version=rounds[-1].policy_version if rounds else 0,
        cpu_seconds=cpu_seconds(rounds),
        transport_cpu_seconds=transport_cpu_seconds(rounds),
        rewards=thinned(own),
        recent=thinned(moving(own)),
        held_out=thinned(evaluations_by_cpu(source.history)),
        first_by_task=evaluations[0].rewards_by_task if evaluations else {},
        last_by_task=evaluations[-1].rewards_by_task if evaluations else {},
        evaluated=evaluations[-1].round if evaluations else None,
    )


def _comparison(node: Source, baseline: Source | None, track: Track, control: Track | None) -> Comparison:
    answers = answers_of(node.config)
    if baseline is None or control is None:
        if wants_baseline(node.config):
            return Comparison("awaited", "The silo baseline has not started yet.", None)
        return Comparison(
            "none", "This run has no silo baseline. With silo_baseline = true a swarm node trains one.", None
        )
    if not answers:
        return Comparison("none", "Held-out evaluation is switched off: nothing to compare by.", None)
    if stored := _stored_uplift(node):
        return Comparison("done", _verdict(stored), stored)
    histories = node.history, baseline.history
    if _even(node, baseline) and (uplift := compare(*histories, answers)):
        return Comparison("done", _verdict(uplift.as_dict), uplift.as_dict)
    if uplift := compare_early(*histories, answers):
        return Comparison("early", _awaited(track, control, baseline), uplift.as_dict)
    return Comparison("awaited", _awaited(track, control, baseline), None)


def _with_all(comparison: Comparison, demo: Sequence[tuple[Source, Source]]) -> Comparison:
    """One node's interval is wide; the nodes of a demo, once all are done, are judged together."""
    done = [
        uplift
        for node, baseline in demo
        if _even(node, baseline)
        and (uplift := compare(node.history, baseline.history, answers_of(node.config)))
    ]
    everyone = pooled(done)
    if comparison.stage != "done" or everyone is None or len(done) < max(2, len(demo)):
        return comparison
    verdict = _verdict({"low": everyone.low, "high": everyone.high}).replace("this run", "this demo")
    return replace(comparison, words=f"All nodes of the demo together: {everyone.summary}. {verdict}")


def _stored_uplift(node: Source) -> dict[str, float] | None:
    """The uplift that the run stored at its end, unless it was resumed since."""
    newest = node.history.life()[-1:]
    return newest[0].facts if newest and newest[0].what == "baseline" else None


def _even(node: Source, baseline: Source) -> bool:
    """Whether the node is done, and its baseline too and with as many CPU seconds."""
    own, control = node.history.rounds(), baseline.history.rounds()
    if not own or not control or own[-1].round < node.config.rounds:
        return False
    ended = control[-1].round >= baseline.config.rounds
    judged_last = [event.round for event in baseline.history.evaluations()[-1:]] == [control[-1].round]
    return ended and judged_last and rounds_to_even(control, cpu_seconds(own)) is None


def _sent_on(control: Track, node: Source, baseline: Source) -> Track:
    """A baseline that has played its rounds, but has had less compute than its node, is not done: it is sent on."""
    own = node.history.rounds()
    short = rounds_to_even(baseline.history.rounds(), cpu_seconds(own)) is not None
    done = bool(own) and own[-1].round >= node.config.rounds
    driven = baseline.in_use or node.in_use
    return (
        replace(control, state="waits to go on")
        if control.state == "finished" and done and short and driven
        else control
    )


def _awaited(track: Track, control: Track, baseline: Source) -> str:
    """What is missing of a comparison that is not final, in words that fit the standing of both."""
    if track.round < track.rounds:
        return (
            f"The node is at round {track.round} of {track.rounds}, its silo baseline at round {control.round}. They "
            "are compared when both are done and the baseline has had as much CPU time."
        )
    whole, had = span(track.cpu_seconds), span(control.cpu_seconds)
    lasting = rounds_to_even(baseline.history.rounds(), track.cpu_seconds)
    if control.state in ("starting", "running", "waits to go on"):
        if control.round and lasting is None:
            return (
                f"The node is done. Its silo baseline has had as much CPU time, and is at round {control.round} of "
                f"{control.rounds}, after which it is evaluated."
            )
        return (
            f"The node is done. Its silo baseline, at round {control.round}, goes on until it has had the node's "
            f"{whole} of CPU time; so far {had}."
        )
    more = f" --rounds {max(lasting or 0, control.rounds)}" if baseline.resumption else ""
    return (
        f"The node is done. Its silo baseline, {control.state} at round {control.round}, has had {had} of the node's "
        f"{whole} of CPU time, and no process plays it on. They are compared after: {baseline.resumption}{more}"
    )


def _verdict(figures: Mapping[str, float]) -> str:
    if figures["low"] > 0:
        return "In this run sharing helped: the whole interval is above 0."
    if figures["high"] < 0:
        return "In this run sharing harmed: the whole interval is below 0."
    return "The interval includes 0: this run alone does not show that sharing helped or harmed."


def _sharing(rounds: Sequence[RoundEvent]) -> Sharing:
    refused: Counter[str] = Counter()
    for event in rounds:
        refused.update(event.refused)
    own, external = (sum(getattr(e, name) for e in rounds) for name in ("trained_local", "trained_external"))
    return Sharing(
        published=sum(event.published for event in rounds),
        received=sum(event.received for event in rounds),
        set_aside=sum(event.set_aside for event in rounds),
        refused=dict(refused),
        trained_local=own,
        trained_external=external,
        missing_external=sum(event.missing_external for event in rounds),
        external_share=external / (own + external) if own + external else None,
    )
