"""Notices: what the owner of a node should hear of once, when it begins.

A peer that meets the same problems as this node runs from the same seed: two nodes that draw a task's problems from
2^31 seeds do not share three by chance. Problems that nobody solved are left out, since peers take those over from one
another on purpose. A copier shows up alike, and the notice says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

from node.storage.events import LifeEvent, RoundEvent
from node.ui.short_names import short_peer
from policies.rollout import Group
from swarm.admission.verdict import Verdict
from swarm.visible_text import counted

SAME_PROBLEMS = 3  # solved by both nodes and taken over by neither, from which a peer is told of
REMEMBERED = 4096  # problems of a side

# Shares of own rollouts cut at the cap, from which a notice is given and under which another may follow.
MANY_CUT, FEW_CUT = 0.5, 0.25

# Rounds in a row without anything to learn from, after which a notice says what helps.
ROUNDS_WITHOUT_SIGNAL = 3
ROUNDS_BETWEEN = 50  # in which it is not said again

NOTHING_JUDGED = (
    f"{ROUNDS_WITHOUT_SIGNAL} rounds in a row gave no verdict on any rollout, so nothing is learned: end the run, mend "
    "what logs/node.log names, and try it with `murmur tasks check`"
)
CLOCK_RIGHT = "no clock is off any more, as far as this node can tell"

Key = TypeVar("Key")
ProblemKey = tuple[str, int]  # a problem's task, by full name, and seed


@dataclass(slots=True)
class SharedProblems:
    """Which peers meet the problems that this node draws. Bounded: the oldest problems are forgotten."""

    _own: OrderedDict[ProblemKey, None] = field(default_factory=OrderedDict)
    _theirs: OrderedDict[tuple[str, ProblemKey], None] = field(default_factory=OrderedDict)
    _shared: dict[str, set[ProblemKey]] = field(default_factory=dict)

    def add_own(self, groups: Iterable[Group], taken_over: Set[ProblemKey]) -> None:
        """Own scored groups; those `taken_over` from peers say nothing about seeds."""
        for group in groups:
            problem = (group.problem.task, group.problem.seed)
            if group.mean_reward and problem not in taken_over:
                _remember(self._own, problem)

    def add_external(self, verdicts: Iterable[Verdict]) -> None:
        """What peers sent; groups that nobody solved may be taken over, so they say nothing about seeds."""
        for verdict in verdicts:
            if verdict.mean_reward and verdict.seed is not None:
                _remember(self._theirs, (verdict.peer, (verdict.task, verdict.seed)))

    def new_peers(self) -> list[str]:
        """Peers that came to share SAME_PROBLEMS since the last call."""
        found: list[str] = []
        for peer, problem in self._theirs:
            if problem in self._own:
                shared = self._shared.setdefault(peer, set())
                before = len(shared)
                shared.add(problem)
                if before < SAME_PROBLEMS == len(shared):
                    found.append(peer)
        return found


@dataclass(slots=True)
class Notices:
    """One run's notices. `after_round` adds those that are new, `drain` gives them."""

    problems: SharedProblems = field(default_factory=SharedProblems)
    _new: list[LifeEvent] = field(default_factory=list)
    _refused_values: dict[str, int] = field(default_factory=dict)  # by peer, as last told
    _warned: dict[str, str] = field(default_factory=dict)  # of the transport, by kind
    _alone: bool = False
    _cut: bool = False
    _unjudged: bool = False
    _skipped: bool = False
    _without_signal: int = 0
    _silent_until: int = 0  # the round before which it is not said again

    def after_round(
        self,
        event: RoundEvent,
        groups: Sequence[Group],
        verdicts: Sequence[Verdict],
        taken_over: Set[ProblemKey],
    ) -> None:
        """`groups` are the round's own ones; `verdicts` are what came of peers' groups since the last round."""
        self.problems.add_own(groups, taken_over)
        self.problems.add_external(verdicts)
        for peer in self.problems.new_peers():
            self._new.append(LifeEvent(event.round, "same seed", _same_seed(peer), {"peer": peer}))
        if event.alone != self._alone:
            self._alone = event.alone
            what = "alone" if event.alone else "heard"
            self._new.append(LifeEvent(event.round, what, _alone_note(event.alone)))
        if event.cut_share >= MANY_CUT and not self._cut:
            self._new.append(LifeEvent(event.round, "cut", _cut_note(event.cut_share)))
        if event.no_verdict and not self._unjudged:
            self._new.append(LifeEvent(event.round, "no verdict", _no_verdict_note(event)))
        if event.skipped_prompts and not self._skipped:
            self._skipped = True
            self._new.append(LifeEvent(event.round, "skipped", _skipped_note(event.skipped_prompts)))
        self._without_signal = self._without_signal + 1 if _no_signal(event) else 0
        if self._without_signal >= ROUNDS_WITHOUT_SIGNAL and event.round >= self._silent_until:
            self._silent_until = event.round + ROUNDS_BETWEEN
            note = NOTHING_JUDGED if event.unjudged else _no_signal_note(event.reward)
            self._new.append(LifeEvent(event.round, "no signal", note))
        self._unjudged = self._unjudged or event.no_verdict > 0
        self._cut = event.cut_share >= (FEW_CUT if self._cut else MANY_CUT)

    def after_look(self, round_number: int, warnings: Mapping[str, str]) -> None:
        """`warnings` are the transport's by kind; each is told once, and again when it went and came back.

        Of a clock it is told, too, that it went.
        """
        for kind, words in warnings.items():
            if kind not in self._warned:
                self._new.append(LifeEvent(round_number, kind, words))
        if "clock" in self._warned and "clock" not in warnings:
            self._new.append(LifeEvent(round_number, "clock right", CLOCK_RIGHT))
        self._warned = dict(warnings)

    def new_refused_values(self, refused: Mapping[str, int]) -> dict[str, int]:
        """What peers sent to this node's part of the DHT and it refused, by peer, since the last call."""
        # A transport process that was started anew counts from 0.
        new = {
            p: n - before if n >= (before := self._refused_values.get(p, 0)) else n
            for p, n in refused.items()
        }
        self._refused_values = dict(refused)
        return {peer: count for peer, count in new.items() if count}

    def drain(self) -> list[LifeEvent]:
        """What is new since the last call."""
        new, self._new = self._new, []
        return new


def _no_verdict_note(event: RoundEvent) -> str:
    left_out = f"left out of this round: {counted(event.no_verdict, 'rollout')} without a verdict"
    if event.why_unjudged is None:
        return f"{left_out}; logs/node.log says why"
    return f"{left_out}. The first: {event.why_unjudged}. logs/node.log has the others"


def _skipped_note(count: int) -> str:
    return (
        f"passed over in this round: {counted(count, 'problem')} whose prompt is longer than policy.prompt.max_tokens, "
        "or than the context leaves room for. `skipped_prompts` of a round counts them"
    )


def _no_signal(event: RoundEvent) -> bool:
    """Whether a round had rollouts, and no group whose rewards differ."""
    return event.loss is None and event.diverged is None and event.tokens > 0


def _no_signal_note(reward: float) -> str:
    so_far = f"{ROUNDS_WITHOUT_SIGNAL} rounds in a row gave nothing to learn from: in every group all rewards are equal"
    if reward > 0.5:
        return f"{so_far}, and high. The task is learned: take harder rows or parameters, or end the run"
    return (
        f"{so_far}, and low. What helps: easier rows or parameters, and sampler.problems = 'adaptive'; more rollouts "
        "of a problem (strategy.rollouts); a verifier that gives a part of the reward for a part of the answer or for "
        "its form (docs/own-data.md); a model that was trained on such answers. `murmur rollouts` shows what is written"
    )


def _same_seed(peer: str) -> str:
    return (
        f"peer {short_peer(peer)} meets the same problems as this node: both run from the same seed, or it copies. "
        "Equal seeds waste the swarm's work: start one of them without seed in its config"
    )


def _alone_note(alone: bool) -> str:
    if alone:
        return "no peers heard: training on own rollouts, and on groups that came before while they last"
    return "peers are heard now"


def _cut_note(share: float) -> str:
    return (
        f"{share:.0%} of this round's rollouts were cut at policy.generation.max_new_tokens before they ended. "
        "Training itself teaches to end in time, since what is cut before its answer gets nothing. If the share is as "
        "high ten rounds on: raise max_new_tokens, or, if it does not yet, let policy.prompt.system ask for short "
        "answers. A base model may never end by itself: set policy.prompt.stop, or take one that was trained to answer"
    )


def _remember(memory: OrderedDict[Key, None], key: Key) -> None:
    memory[key] = None
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
