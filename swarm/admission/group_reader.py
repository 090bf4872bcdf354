"""The group reader turns a shared group into rollouts as this node's own policy would have made them.

A rollout that cannot be read is left out with its reason; the rest of the group is read while two remain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from policies.rollout import Finish, Group, Problem, Rollout, Segment
from policies.tasks.held_out import ReservedError
from policies.tasks.task import (
    MAX_UNJUDGED,
    DrawnTask,
    ImageTask,
    Task,
    TaskTimeoutError,
    TextTask,
    score_group,
    score_text,
)
from swarm.admission.costly_problems import PeerBudget
from swarm.admission.refusal import Reason, Refusal
from swarm.errors import DecodeError
from swarm.wire import images
from swarm.wire.body import SharedGroup, SharedRollout

log = logging.getLogger(__name__)

Encode = Callable[[str, Finish], tuple[int, ...]]
Fit = Callable[[str, Finish], tuple[str, Finish]]
# Whether a group has cost as much as one may of which so much was read: processor seconds, by `worth_of`.
Late = Callable[[float], bool]

# The policy version of segments that were re-encoded from a peer's text: no version of this node's.
RETOKENIZED = -1
LEAST_ROLLOUTS = 2  # of a group: one alone has nothing to be compared with
# Rollouts of text that are read, and scored, however long that takes: an own group's commonly. Of a larger one what
# comes late is left out; an update takes no more than an own group's rollouts of it anyway.
PROMPT_ROLLOUTS = 8
# What a rollout that can be trained on may cost: three to five times what it takes on an idle machine, 45 us of 64
# tokens and 0.25 ms of 512.
SECONDS_A_ROLLOUT, SECONDS_A_TOKEN, SECONDS_A_PIXEL = 5e-5, 2e-6, 0.02 / 2**20


class CostlyProblemError(Exception):
    """A group's problem takes longer to make than its sender may ask for; the message is the task's name."""


@dataclass(frozen=True, slots=True)
class ReadGroup:
    """What could be read of a shared group."""

    group: Group  # unscored
    shared: SharedGroup  # with the rollouts of `group` alone, in their order
    left_out: tuple[Reason, ...]  # one a rollout that could not be read
    unjudged: int = 0  # rollouts that the verifier came to no end with; left out of both

    @property
    def judged(self) -> bool:
        """Whether enough is left to compare with each other."""
        return not self.unjudged or len(self.group.rollouts) >= LEAST_ROLLOUTS

    def without(self, known: Sequence[bool]) -> ReadGroup:
        """The group less the rollouts that are `known`."""
        kept = [place for place, is_known in enumerate(known) if not is_known]
        return replace(
            self,
            group=replace(self.group, rollouts=tuple(self.group.rollouts[place] for place in kept)),
            shared=replace(self.shared, rollouts=tuple(self.shared.rollouts[place] for place in kept)),
        )

    def scored(self, task: Task, late: Late) -> ReadGroup:
        """With the task's rewards, less what was not scored before it was `late`, and what has no verdict."""
        if isinstance(task, ImageTask):
            scored: list[Rollout | None] = [*score_group(task, self.group).rollouts]
        else:
            scored = self._scored_texts(task, late)
        pairs = [(own, sent) for own, sent in zip(scored, self.shared.rollouts, strict=False) if own]
        judged = [(own, sent) for own, sent in pairs if not own.no_verdict]
        faults, unscored = scored.count(None), len(self.group.rollouts) - len(scored)
        if faults and len(judged) < LEAST_ROLLOUTS:
            raise Refusal(Reason.FAULT, f"a check failed on {faults} of {len(scored)} texts")
        return ReadGroup(
            replace(self.group, rollouts=tuple(own for own, _ in judged)),
            replace(self.shared, rollouts=tuple(sent for _, sent in judged)),
            (*self.left_out, *[Reason.FAULT] * faults, *[Reason.WASTE] * unscored),
            len(pairs) - len(judged),
        )

    def _scored_texts(self, task: TextTask, late: Late) -> list[Rollout | None]:
        """The first rollouts with a reward, or without a verdict; None in place of one that the task fails on."""
        scored: list[Rollout | None] = []
        failed: set[str] = set()
        unjudged, worth = 0, sum(map(worth_of, self.group.rollouts))
        for place, rollout in enumerate(self.group.rollouts):
            if place >= PROMPT_ROLLOUTS and late(worth):
                break
            if unjudged >= MAX_UNJUDGED:
                scored.append(rollout.scored(None))
                continue
            try:
                alone = score_text(task, self.group.problem, rollout)
            except Exception as error:  # noqa: BLE001  a faulty task costs the texts that it fails on
                failed.add(type(error).__name__)
                scored.append(None)
                continue
            scored.append(alone)
            unjudged += alone.no_verdict
        if failed:
            log.error(
                "task %s failed on texts of %s: %s", task.name, self.group.origin, ", ".join(sorted(failed))
            )
        return scored

    @property
    def contents(self) -> list[str]:
        return contents_of(self.group, (rollout.image for rollout in self.shared.rollouts))


def whole(text: str, finish: Finish) -> tuple[str, Finish]:
    """The `Fit` of whoever has room for every text."""
    return text, finish


def in_time(worth: float) -> bool:
    """The `Late` of whoever has all the time there is."""
    return False


def worth_of(rollout: Rollout) -> float:
    """Processor seconds that a rollout may cost where it can be trained on."""
    pixels = len(rollout.image.pixels) if rollout.image else 0
    return SECONDS_A_ROLLOUT + SECONDS_A_TOKEN * len(rollout.token_ids) + SECONDS_A_PIXEL * pixels


@dataclass(frozen=True, slots=True)
class GroupReader:
    """Reads groups as a node's own policy would have made them."""

    encode: Encode
    max_characters: int
    fit: Fit = whole
    late: Late = in_time
    budget: PeerBudget | None = None  # what the sender's problems may take; None: as long as they do

    def read(self, task: Task, peer: str, shared: SharedGroup) -> ReadGroup:
        """Raises Refusal where fewer than two rollouts can be read; nothing else of theirs is looked at then.

        All completions are read before any is scored: verifiers see only what could be trained on. A text that `fit`
        cuts is scored and trained on as it is cut.
        """
        pairs: list[tuple[SharedRollout, Rollout]] = []
        refusals: list[Refusal] = []
        worth, draws = 0.0, isinstance(task, ImageTask)
        for place, rollout in enumerate(shared.rollouts):
            try:
                if draws:
                    pairs.append((rollout, _reopen(rollout)))
                    continue
                if place >= PROMPT_ROLLOUTS and self.late(worth):
                    raise Refusal(Reason.WASTE, "a group that takes too long to read")
                pairs.append((rollout, read := self._reencode(rollout)))
                worth += worth_of(read)
            except Refusal as refusal:
                refusals.append(refusal)
        if refusals and len(pairs) < LEAST_ROLLOUTS:
            raise refusals[0]
        return ReadGroup(
            Group(self._problem(task, shared), tuple(own for _, own in pairs), origin=peer),
            replace(shared, rollouts=tuple(rollout for rollout, _ in pairs)),
            tuple(refusal.reason for refusal in refusals),
        )

    def _problem(self, task: Task, shared: SharedGroup) -> Problem:
        """One draw alone: a peer may look for seeds that take ten, each of which takes 0.1 s in some tasks."""
        seed = shared.seed
        if not isinstance(task, DrawnTask):
            return task.problem(seed)
        promising = len({rollout.claimed_reward for rollout in shared.rollouts}) > 1
        try:
            if self.budget is None:
                return task.first_draw(seed)
            return self.budget.draw(lambda within: task.first_draw(seed, within), promising)
        except TaskTimeoutError as error:
            raise CostlyProblemError(task.name) from error
        except ReservedError as error:
            raise Refusal(Reason.HELD_OUT, str(error)) from error

    def _reencode(self, shared: SharedRollout) -> Rollout:
        if shared.image:
            raise Refusal(Reason.MEDIUM, "an image where the task asks for text")
        if (size := len(shared.text)) > self.max_characters:
            raise Refusal(Reason.LENGTH, f"a completion of {size} characters, maximum {self.max_characters}")
        try:
            text, finish = self.fit(shared.text, shared.finish)
            token_ids = self.encode(text, finish)
        except ValueError as error:
            raise Refusal(Reason.ENCODING, "a completion that the own policy cannot encode") from error
        return Rollout(text, (Segment(RETOKENIZED, token_ids),), finish)


def contents_of(group: Group, packed: Iterable[bytes]) -> list[str]:
    """What copies of the rollouts would have in common with them; `packed` are their images as they travel."""
    pairs = zip(group.rollouts, packed, strict=True)
    return [images.content_digest(r.image, data) if r.image else r.text for r, data in pairs]


def opened_bytes(shared: SharedGroup) -> int:
    """Bytes that the group's images take once opened; those that are refused anyway take none."""
    return sum(map(_opened_bytes, shared.rollouts))


def _opened_bytes(rollout: SharedRollout) -> int:
    try:
        return rollout.pixels
    except DecodeError:
        return 0


def _reopen(shared: SharedRollout) -> Rollout:
    if shared.text or not shared.image:
        raise Refusal(Reason.MEDIUM, "text where the task asks for an image")
    try:
        return Rollout("", (), shared.finish, image=images.decode(shared.image))
    except DecodeError as error:
        raise Refusal(Reason.IMAGE, str(error)) from error
