"""The one driver of every strategy: open groups, sample, score, decide, until the round has what it wants.

It never asks which strategy it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from policies.policy import RolloutRequest, RolloutSource
from policies.rollout import Finish, Group, Problem, Rollout
from policies.strategies.base import Admission, GroupDecision, LiveView, StepInfo, Strategy
from policies.strategies.difficulty import Difficulty
from policies.strategies.open_groups import OpenGroup, OpenGroups
from policies.unjudged import reasons_heard, shown

# (first, count): the round's problems number first to first + count - 1. Equal arguments must give equal
# problems, whatever was drawn before; fewer than count when a task has no more.
DrawProblems = Callable[[int, int], Sequence[Problem]]
Score = Callable[[Group], Group]  # the group with the reward of every rollout, or its lack of a verdict
NO_VERDICT = "no_verdict"  # the reason for which a group is dropped that no rollout is left of


@dataclass(frozen=True, slots=True)
class Decision:
    """A complete group and what became of it."""

    group: Group
    admission: Admission
    difficulty: Difficulty  # of stage 1


@dataclass(slots=True)
class Effort:
    """What a round's sampling took. Plain figures for the event store."""

    opened: int = 0  # groups
    carried: int = 0  # partials that the round began with
    calls: int = 0  # of the policy
    tokens: int = 0  # sampled
    row_steps: int = 0  # tokens that all rollouts of a call would have, were each as long as its longest
    left: int = 0  # partials that the round ended with
    no_verdict: int = 0  # finished rollouts that their verifier came to no end with; left out of their groups
    why_unjudged: str | None = None  # the first reason for it
    unjudged_groups: int = 0  # groups of which no rollout is left for that; dropped

    @property
    def idle_share(self) -> float:
        """Of the rows of a batch that keeps finished ones to its end, 0..1; what carrying on is to lower."""
        return 1.0 - self.tokens / self.row_steps if self.row_steps else 0.0


@dataclass(frozen=True, slots=True)
class RolloutPhase:
    """What the round decided on, oldest group first."""

    decisions: tuple[Decision, ...]
    effort: Effort
    ages: Counter[int]  # tokens of the admitted groups by how many policy versions they are behind

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every complete group, for publishing."""
        return tuple(decision.group for decision in self.decisions)

    @property
    def admitted(self) -> tuple[Group, ...]:
        """The groups to train on."""
        return tuple(d.group for d in self.decisions if d.admission.decision is GroupDecision.TRAIN)

    @property
    def dropped(self) -> Counter[str]:
        """Groups not trained on, by reason."""
        reasons = Counter(d.admission.reason for d in self.decisions if d.admission.reason is not None)
        return reasons + Counter({NO_VERDICT: self.effort.unjudged_groups})

    @property
    def stale_share(self) -> float:
        """Share of the admitted tokens that an older policy version sampled, 0..1."""
        total = self.ages.total()
        return 1.0 - self.ages[0] / total if total else 0.0


def rollout_phase(
    policy: RolloutSource,
    strategy: Strategy,
    open_groups: OpenGroups,
    draw: DrawProblems,
    score: Score,
    step: StepInfo,
) -> RolloutPhase:
    """Plays the sampling of one round; called once a round.

    Ends when `step.wanted` groups are decided and no open group has reached the strategy's maximum
    age, or when there are no more problems. What is then unfinished or surplus stays open.
    """
    phase = _Phase(policy, strategy, open_groups, score, step)
    phase.effort.carried = len(open_groups.partials)
    phase.advance()
    while phase.wants_more:
        phase.top_up(draw)
        if not phase.sample():
            break
        phase.advance()
    phase.effort.left = len(open_groups.partials)
    decisions = tuple(phase.decisions)
    admitted = [d.group for d in decisions if d.admission.decision is GroupDecision.TRAIN]
    return RolloutPhase(decisions, phase.effort, _ages(admitted, step.policy_version))


@dataclass(slots=True)
class _Phase:
    """A round's sampling under way."""

    policy: RolloutSource
    strategy: Strategy
    open_groups: OpenGroups
    score: Score
    step: StepInfo
    effort: Effort = field(default_factory=Effort)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Groups still to be decided: a replaced one does not count."""
        decided = len(self.decisions) + self.effort.unjudged_groups - self.step.replaced
        return self.step.wanted - decided

    @property
    def wants_more(self) -> bool:
        return self.missing > 0 or any(map(self.overdue, self.open_groups.groups))

    def overdue(self, group: OpenGroup) -> bool:
        """So old that it has to be decided in this round."""
        oldest = group.oldest_version
        return oldest is not None and self.step.policy_version - oldest >= self.strategy.max_age

    def advance(self) -> None:
        """Extends the groups of which more is wanted, and decides on the complete ones, oldest first."""
        groups = tuple(self.open_groups.groups)
        for group, extra in zip(groups, self.strategy.demand(self.step, groups), strict=True):
            if extra:
                self.open_groups.put(group.extended(extra))
            elif group.settled and (self.missing > 0 or self.overdue(group)):
                self.decide(group)

    def decide(self, group: OpenGroup) -> None:
        if not group.group.rollouts:
            self.effort.unjudged_groups += 1
            return self.open_groups.close(group, NO_VERDICT)
        admission = self.strategy.admit(self.step, group.group)
        if admission.decision is GroupDecision.REPLACE:
            self.step = replace(self.step, replaced=self.step.replaced + 1)
        self.open_groups.close(group, admission.reason)
        difficulty = group.difficulty(self.step.correct_reward)
        self.decisions.append(Decision(group.group, admission, difficulty))

    def top_up(self, draw: DrawProblems) -> None:
        """Opens new groups while the round still wants some, up to what the strategy holds open."""
        decided = self.step.wanted - self.missing
        places = self.strategy.open_groups(self.step) - decided - len(self.open_groups.groups)
        if self.missing <= 0 or places <= 0:
            return
        for problem in draw(self.effort.opened, places):
            bare = OpenGroup(self.step.round, self.effort.opened, problem)
            self.open_groups.open(bare.extended(self.strategy.demand(self.step, [bare])[0]))
            self.effort.opened += 1

    def sample(self) -> bool:
        """Carries all rollouts on, the oldest group's first, until the strategy stops; scores the finished.

        False when there is nothing to sample.
        """
        running = self.open_groups.partials
        if not running:
            return False
        requests = [
            RolloutRequest(g.problem, self.open_groups.key(g, i), _begun(g.rollouts[i])) for g, i in running
        ]
        owners = [group.place for group, _ in running]
        overdue = {group.place for group in self.open_groups.groups if group.running and self.overdue(group)}
        watch = _Watch(self.strategy, owners, overdue, self.missing)
        rollouts = self.policy.sample(requests, stop=watch)
        self.count([g.rollouts[i] for g, i in running], rollouts)
        self.take_back(running, rollouts)
        return True

    def take_back(self, running: Sequence[tuple[OpenGroup, int]], rollouts: Sequence[Rollout]) -> None:
        """Puts the rollouts of a call into their groups, the finished ones with their rewards."""
        changed: dict[tuple[int, int], dict[int, Rollout]] = {}
        for (group, i), rollout in zip(running, rollouts, strict=True):
            changed.setdefault(group.place, {})[i] = rollout
        for group in tuple(self.open_groups.groups):
            if fresh := changed.get(group.place):
                self.open_groups.put(group.with_rollouts(self.scored(group.problem, fresh)))

    def scored(self, problem: Problem, fresh: dict[int, Rollout]) -> dict[int, Rollout]:
        finished = [i for i, rollout in fresh.items() if rollout.finish is not Finish.UNFINISHED]
        if not finished:
            return fresh
        with reasons_heard() as heard:
            scored = self.score(Group(problem, tuple(fresh[i] for i in finished))).rollouts
        if heard and self.effort.why_unjudged is None:
            self.effort.why_unjudged = f"{heard[0]}. It was asked {shown(problem.prompt)}"
        self.effort.no_verdict += sum(rollout.no_verdict for rollout in scored)
        return {**fresh, **dict(zip(finished, scored, strict=True))}

    def count(self, before: Sequence[Rollout], after: Sequence[Rollout]) -> None:
        new = [len(b.token_ids) - len(a.token_ids) for a, b in zip(before, after, strict=True)]
        self.effort.calls += 1
        self.effort.tokens += sum(new)
        self.effort.row_steps += max(new) * len(new)
        self.step = replace(self.step, tokens=self.effort.tokens)


class _Watch:
    """The policy's `Stop` for one call: asks the strategy, but never while an overdue group is unfinished."""

    def __init__(
        self,
        strategy: Strategy,
        owners: Sequence[tuple[int, int]],
        overdue: set[tuple[int, int]],
        wanted: int,
    ) -> None:
        self._strategy, self._owners, self._overdue, self._wanted = strategy, owners, overdue, wanted
        self._running = Counter(owners)
        self._groups = len(self._running)

    def __call__(self, finished: Sequence[int]) -> bool:
        for index in finished:
            owner = self._owners[index]
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
                self._overdue.discard(owner)
        live = LiveView(self._wanted, settled=self._groups - len(self._running))
        return not self._overdue and self._strategy.stop(live)


def _begun(rollout: Rollout) -> Rollout | None:
    return rollout if rollout.token_ids else None


def _ages(groups: Iterable[Group], policy_version: int) -> Counter[int]:
    ages: Counter[int] = Counter()
    for group in groups:
        for segment in (s for rollout in group.rollouts for s in rollout.segments):
            ages[policy_version - segment.policy_version] += len(segment.token_ids)
    return ages
