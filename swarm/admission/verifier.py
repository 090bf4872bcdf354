"""The rollout verifier turns bodies of unknown peers into groups that a node may train on.

Prompt, token ids and reward of an accepted group are this node's own; of the wire only text or pixels, finish
and seed are left. What is refused becomes a `Verdict` with one `Reason`, never an exception.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from policies.rollout import Finish, Group, Rollout, Segment
from policies.tasks.task import ImageTask, Task, score_group
from swarm.admission.peer_records import PeerRecords
from swarm.admission.replay_guard import ReplayGuard
from swarm.admission.verdict import Outcome, Reason, Verdict
from swarm.errors import DecodeError
from swarm.limits import CLOCK_SKEW, MAX_BODY, MAX_BODY_PIXELS, MAX_TASKS_ANNOUNCED
from swarm.wire import images
from swarm.wire.announcement import Announcement
from swarm.wire.body import Body, PackedGroup, SharedGroup, SharedRollout
from swarm.wire.body_codec import decode_body

log = logging.getLogger(__name__)

# The policy version of segments that were re-encoded from a peer's text: no version of this node's.
RETOKENIZED = -1
# Verifiers may differ by rounding between platforms; a larger difference is counted as a claim mismatch.
CLAIM_TOLERANCE = 1e-6

Encode = Callable[[str, Finish], tuple[int, ...]]


Verified = tuple[Verdict, Group | None]


@dataclass(frozen=True, slots=True)
class VerifierLimits:
    """A node's own bounds on what it takes from others."""

    # Tasks of the swarm that the own policy cannot take, by the part of their name before the @.
    unsupported_tasks: frozenset[str] = frozenset()
    max_age: float = 600.0  # seconds since the announcement was made
    allowed: frozenset[str] = frozenset()  # PeerIDs that always count as known
    denied: frozenset[str] = frozenset()  # PeerIDs that nothing is taken from
    max_characters: int = 16_384  # of one completion; a cheap bound before the tokenizer is asked


class _Refusal(Exception):
    """Ends the checks on a body or group; never leaves this file."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class RolloutVerifier:
    """Examines bodies, in the order of cost. Not thread-safe, except for its guard."""

    def __init__(
        self,
        swarm: str,
        peer: str,
        tasks: Mapping[str, Task],
        encode: Encode,
        clock: Callable[[], float],
        settings: VerifierLimits = VerifierLimits(),
    ) -> None:
        self.swarm, self.peer = swarm, peer
        self.settings = settings
        self.guard = ReplayGuard()
        self.records = PeerRecords(clock, settings.allowed, settings.denied)
        self._tasks, self._encode, self._clock = tasks, encode, clock

    def verify(self, announcement: Announcement, wire: bytes) -> list[Verified]:
        """One verdict a group, with the group where it was accepted or set aside; one for a refused body.

        `announcement` is signature-checked by the transport. Own records give an empty list. What came of the body
        goes into the peer's record.
        """
        if announcement.peer == self.peer:
            return []
        verified = self._verify_body(announcement, wire)
        verdicts = [verdict for verdict, _ in verified]
        self.records.note_delivered(announcement.peer, announcement.host, verdicts)
        return verified

    def _verify_body(self, announcement: Announcement, wire: bytes) -> list[Verified]:
        try:
            body = self._open(announcement, wire)
        except _Refusal as refusal:
            return [(Verdict.refused(announcement.peer, refusal.reason, refusal.detail), None)]
        verified: list[Verified] = []
        pixels_left = MAX_BODY_PIXELS
        for shared in body.groups:
            verified.append(self._verify_group(body.sender, shared, pixels_left))
            pixels_left -= _pixels(shared)
        return verified

    def remember_own(self, groups: Iterable[PackedGroup]) -> None:
        """Marks the groups of an own body as given by this node, so that whoever copies them is known for it."""
        for packed in groups:
            problem = packed.group.problem
            contents = _contents(packed.group, packed.images)
            self.guard.remember(self.peer, problem.task, problem.seed, contents)

    def usable(self, announcement: Announcement) -> bool:
        """False where all that the body is said to hold is of tasks that the own policy cannot take."""
        named = announcement.summary.tasks  # of more tasks than fit, some are not named
        return len(named) == MAX_TASKS_ANNOUNCED or not all(
            map(self._is_unsupported, (t.task for t in named))
        )

    def is_fresh(self, announcement: Announcement) -> bool:
        """Whether the announcement's age lets its body in."""
        return self._age_fault(announcement) is None

    def _age_fault(self, announcement: Announcement) -> Reason | None:
        age = self._clock() - announcement.created
        if age > self.settings.max_age:
            return Reason.STALE
        return Reason.FUTURE if age < -CLOCK_SKEW else None

    def _is_unsupported(self, task: str) -> bool:
        return task.partition("@")[0] in self.settings.unsupported_tasks

    def _open(self, announcement: Announcement, wire: bytes) -> Body:
        """The decoded body. Raises _Refusal when it must not be looked into further."""
        if len(wire) > MAX_BODY or len(wire) != announcement.size:
            raise _Refusal(Reason.SIZE, f"{len(wire)} bytes, announced {announcement.size}, limit {MAX_BODY}")
        if hashlib.sha256(wire).digest() != announcement.digest:
            raise _Refusal(Reason.DIGEST, "not the announced bytes")
        try:
            body = decode_body(wire)
        except DecodeError as error:
            self.guard.remember_body(announcement.digest)
            raise _Refusal(Reason.DECODE, str(error)) from error
        self._check_envelope(announcement, body)
        if self.guard.knows_body(announcement.digest):
            raise _Refusal(Reason.REPLAY, "this body was here before")
        self.guard.remember_body(announcement.digest)
        late = self._age_fault(announcement)
        if late is not None:
            age = self._clock() - announcement.created
            raise _Refusal(late, f"announced {age:.0f} s ago, maximum {self.settings.max_age:.0f} s")
        return body

    def _check_envelope(self, announcement: Announcement, body: Body) -> None:
        if not self.swarm == announcement.swarm == body.swarm:
            raise _Refusal(Reason.SWARM, "of another swarm")
        if body.sender != announcement.peer:
            raise _Refusal(Reason.SENDER, "the body names another sender than its announcement")
        announced = announcement.summary
        counts = (body.round, body.policy_version, len(body.groups), body.rollouts, body.fingerprint)
        if counts != (
            announced.round,
            announced.policy_version,
            announced.groups,
            announced.rollouts,
            announced.fingerprint,
        ):
            raise _Refusal(Reason.SUMMARY, "counts or versions are not the announced ones")

    def _verify_group(self, peer: str, shared: SharedGroup, pixels_left: int) -> Verified:
        if self._is_unsupported(shared.task):
            return _about(
                Verdict(Outcome.UNUSABLE, peer, detail="the own policy makes no such thing"), shared
            ), None
        try:
            if _pixels(shared) > pixels_left:
                raise _Refusal(Reason.IMAGE, f"images of over {MAX_BODY_PIXELS} bytes opened in one body")
            group = self._rebuild(peer, shared)
        except _Refusal as refusal:
            return _about(Verdict.refused(peer, refusal.reason, refusal.detail), shared), None
        self.guard.remember(
            peer, shared.task, shared.seed, _contents(group, (rollout.image for rollout in shared.rollouts))
        )
        return _passed(peer, shared, group), group

    def _rebuild(self, peer: str, shared: SharedGroup) -> Group:
        """The group as if this node's policy had written its texts or made its images. Raises _Refusal."""
        if self.guard.is_replay(peer, shared.task, shared.seed):
            raise _Refusal(Reason.REPLAY, "this peer gave a group of this problem before")
        task = self._tasks.get(shared.task)
        if task is None:
            raise _Refusal(Reason.TASK, "not a task of this swarm")
        try:
            return self._rescore(task, peer, shared)
        except _Refusal:
            raise
        except Exception as error:  # the peer inbox: no text may end it through a faulty task
            log.error("task %s failed on a group of %s: %s", task.name, peer, type(error).__name__)
            raise _Refusal(Reason.FAULT, f"a check failed with {type(error).__name__}") from error

    def _rescore(self, task: Task, peer: str, shared: SharedGroup) -> Group:
        problem = task.problem(shared.seed)
        # All completions are read before any is scored: verifiers see only what could be trained on.
        read = self._reencode if not isinstance(task, ImageTask) else _reopen
        group = Group(problem, tuple(read(rollout) for rollout in shared.rollouts), origin=peer)
        if self.guard.is_copy(
            peer, shared.task, shared.seed, _contents(group, (rollout.image for rollout in shared.rollouts))
        ):
            raise _Refusal(Reason.COPYCAT, "another peer gave these first")
        return score_group(task, group)

    def _reencode(self, shared: SharedRollout) -> Rollout:
        if shared.image:
            raise _Refusal(Reason.MEDIUM, "an image where the task asks for text")
        longest = self.settings.max_characters
        if len(shared.text) > longest:
            raise _Refusal(Reason.LENGTH, f"a completion of {len(shared.text)} characters, maximum {longest}")
        try:
            token_ids = self._encode(shared.text, shared.finish)
        except ValueError as error:
            raise _Refusal(Reason.ENCODING, "a completion that the own policy cannot encode") from error
        return Rollout(shared.text, (Segment(RETOKENIZED, token_ids),), shared.finish)


def _reopen(shared: SharedRollout) -> Rollout:
    if shared.text or not shared.image:
        raise _Refusal(Reason.MEDIUM, "text where the task asks for an image")
    try:
        return Rollout("", (), shared.finish, image=images.decode(shared.image))
    except DecodeError as error:
        raise _Refusal(Reason.IMAGE, str(error)) from error


def _pixels(shared: SharedGroup) -> int:
    """Bytes that the group's images take once opened; 0 where one is refused anyway."""
    try:
        return sum(rollout.pixels for rollout in shared.rollouts)
    except DecodeError:
        return 0


def _contents(group: Group, packed: Iterable[bytes]) -> list[str]:
    """What copies of the rollouts would have in common with them; `packed` are their images as they travel."""
    pairs = zip(group.rollouts, packed, strict=True)
    return [images.content_digest(r.image, data) if r.image else r.text for r, data in pairs]


def _about(verdict: Verdict, shared: SharedGroup) -> Verdict:
    return replace(verdict, task=shared.task, seed=shared.seed, rollouts=len(shared.rollouts))


def _passed(peer: str, shared: SharedGroup, group: Group) -> Verdict:
    return Verdict(
        Outcome.SET_ASIDE if group.zero_advantage else Outcome.ACCEPTED,
        peer=peer,
        task=shared.task,
        seed=shared.seed,
        rollouts=len(shared.rollouts),
        mean_reward=group.mean_reward,
        claim_mismatches=_mismatches(shared, group),
    )


def _mismatches(shared: SharedGroup, group: Group) -> int:
    return sum(
        not math.isclose(claimed.claimed_reward, own, abs_tol=CLAIM_TOLERANCE)
        for claimed, own in zip(shared.rollouts, group.rewards, strict=True)
    )
