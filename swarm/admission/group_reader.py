"""The group reader turns a shared group into rollouts as this node's own policy would have made them.

A rollout that cannot be read is left out with its reason; the rest of the group is read while two remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from policies.rollout import Finish, Group, Rollout, Segment
from policies.tasks.task import ImageTask, Task
from swarm.admission.verdict import Reason, Refusal
from swarm.errors import DecodeError
from swarm.wire import images
from swarm.wire.body import SharedGroup, SharedRollout

Encode = Callable[[str, Finish], tuple[int, ...]]
Fit = Callable[[str, Finish], tuple[str, Finish]]

# The policy version of segments that were re-encoded from a peer's text: no version of this node's.
RETOKENIZED = -1
LEAST_ROLLOUTS = 2  # of a group: one alone has nothing to be compared with


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

    def scored(self, group: Group) -> ReadGroup:
        """With the rewards of `group`, which has the same rollouts, and without those that have no verdict."""
        pairs = zip(group.rollouts, self.shared.rollouts, strict=True)
        kept = tuple(claimed for rollout, claimed in pairs if not rollout.no_verdict)
        unjudged = len(group.rollouts) - len(kept)
        return replace(
            self, group=group.judged, shared=replace(self.shared, rollouts=kept), unjudged=unjudged
        )

    def without(self, known: Sequence[bool]) -> ReadGroup:
        """The group less the rollouts that are `known`."""
        kept = [place for place, is_known in enumerate(known) if not is_known]
        return replace(
            self,
            group=replace(self.group, rollouts=tuple(self.group.rollouts[place] for place in kept)),
            shared=replace(self.shared, rollouts=tuple(self.shared.rollouts[place] for place in kept)),
        )

    @property
    def contents(self) -> list[str]:
        return contents_of(self.group, (rollout.image for rollout in self.shared.rollouts))


def whole(text: str, finish: Finish) -> tuple[str, Finish]:
    """The `Fit` of whoever has room for every text."""
    return text, finish


def read_group(
    task: Task, peer: str, shared: SharedGroup, encode: Encode, max_characters: int, fit: Fit = whole
) -> ReadGroup:
    """Raises Refusal where fewer than two rollouts can be read; nothing else of theirs is looked at then.

    All completions are read before any is scored: verifiers see only what could be trained on. A text that `fit`
    cuts is scored and trained on as it is cut.
    """
    pairs: list[tuple[SharedRollout, Rollout]] = []
    refusals: list[Refusal] = []
    for rollout in shared.rollouts:
        try:
            read = (
                _reopen(rollout)
                if isinstance(task, ImageTask)
                else _reencode(rollout, encode, max_characters, fit)
            )
            pairs.append((rollout, read))
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals and len(pairs) < LEAST_ROLLOUTS:
        raise refusals[0]
    return ReadGroup(
        Group(task.problem(shared.seed), tuple(read for _, read in pairs), origin=peer),
        replace(shared, rollouts=tuple(rollout for rollout, _ in pairs)),
        tuple(refusal.reason for refusal in refusals),
    )


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


def _reencode(shared: SharedRollout, encode: Encode, max_characters: int, fit: Fit) -> Rollout:
    if shared.image:
        raise Refusal(Reason.MEDIUM, "an image where the task asks for text")
    if (size := len(shared.text)) > max_characters:
        raise Refusal(Reason.LENGTH, f"a completion of {size} characters, maximum {max_characters}")
    try:
        text, finish = fit(shared.text, shared.finish)
        token_ids = encode(text, finish)
    except ValueError as error:
        raise Refusal(Reason.ENCODING, "a completion that the own policy cannot encode") from error
    return Rollout(text, (Segment(RETOKENIZED, token_ids),), finish)


def _reopen(shared: SharedRollout) -> Rollout:
    if shared.text or not shared.image:
        raise Refusal(Reason.MEDIUM, "text where the task asks for an image")
    try:
        return Rollout("", (), shared.finish, image=images.decode(shared.image))
    except DecodeError as error:
        raise Refusal(Reason.IMAGE, str(error)) from error
