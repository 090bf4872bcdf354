"""The rollout verifier turns bodies of unknown peers into groups that a node may train on.

Prompt, token ids and reward of an accepted group are this node's own; of the wire only text or pixels, finish
and seed are left. What is refused becomes a `Verdict` with one `Reason`, never an exception.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from policies.rollout import Group
from policies.tasks.task import HELD_OUT_SEED, ImageTask, Task
from policies.workers.thread_seconds import collections_held_back, thread_seconds
from policies.workers.turns import for_peers
from swarm.admission.costly_problems import CostlyProblems, PeerBudget
from swarm.admission.group_reader import (
    LEAST_ROLLOUTS,
    PROMPT_ROLLOUTS,
    CostlyProblemError,
    Encode,
    Fit,
    GroupReader,
    Late,
    ReadGroup,
    contents_of,
    in_time,
    opened_bytes,
    whole,
    worth_of,
)
from swarm.admission.habits import Habits, HabitSettings
from swarm.admission.peer_records import PeerRecords
from swarm.admission.refusal import Reason, Refusal
from swarm.admission.replay_guard import ReplayGuard
from swarm.admission.thread_work import ThreadWork
from swarm.admission.verdict import Outcome, Verdict
from swarm.errors import DecodeError
from swarm.limits import CLOCK_SKEW, MAX_BODY, MAX_BODY_PIXELS, MAX_TASKS_ANNOUNCED
from swarm.wire.announcement import Announcement
from swarm.wire.body import Body, PackedGroup, SharedGroup, SharedRollout
from swarm.wire.body_codec import decode_body

log = logging.getLogger(__name__)

# Verifiers may differ by rounding between platforms; a larger difference is counted as a claim mismatch.
CLAIM_TOLERANCE = 1e-6
# Groups of a body that may be refused, and processor seconds that may go into what cannot be trained on, or beyond the
# price of what can: a body of 1.7 kB, all of whose groups passed and said one thing, once cost 7.5. Good groups pay for
# themselves alone: while they paid for others too, every fifth one bought 0.4 s for the four around it. Honest senders
# put those with something to learn from first (`shareable`).
MAX_REFUSALS = 8
BODY_SECONDS = 0.02
# For reading a group of text, and again for scoring it, beyond its first rollouts.
GROUP_SECONDS = 0.01
# Beyond that, a large group that showed that there is something to learn from it may cost what its rollouts are worth,
# up to this: 256 of 64 tokens take 12 ms on an idle machine, and are read whole where that is three times as much.
MOST_EARNED = 0.025
SECONDS_A_GROUP = 0.002  # that a group which can be trained on may cost beyond the worth of its rollouts
# Rollouts of one body without a verdict, after which the rest of it is not looked at: each may cost a verifier's whole
# time, and 2,048 of them would keep a node from all other peers for minutes.
MAX_UNJUDGED_OF_BODY = 16

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
    habits: HabitSettings = field(default_factory=HabitSettings)
    # What the own policy has room for of a completion: text and finish as they are, or cut at its cap.
    fit: Fit = whole


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
        self.habits = Habits(settings.habits)
        self.guard = ReplayGuard()
        self.records = PeerRecords(clock, settings.allowed, settings.denied)
        self._tasks, self._encode, self._clock = tasks, encode, clock
        self._costly_problems = CostlyProblems()
        self._budget: PeerBudget | None = None  # of whose body is looked into

    def verify(self, announcement: Announcement, wire: bytes) -> list[Verified]:
        """One verdict a group, with the group where it was accepted or set aside; one for a refused body.

        `announcement` is signature-checked by the transport. Own records give an empty list. What came of the body
        goes into the peer's record.
        """
        if announcement.peer == self.peer:
            return []
        standing = self.records.standing(announcement.peer)
        self._budget = self._costly_problems.of_peer(standing, announcement.host)
        with for_peers(), collections_held_back():
            verified = self._verify_body(announcement, wire)
        verdicts = [verdict for verdict, _ in verified]
        self.records.note_delivered(announcement.peer, announcement.host, verdicts)
        self.habits.note(group for _, group in verified if group is not None)
        return verified

    def _verify_body(self, announcement: Announcement, wire: bytes) -> list[Verified]:
        try:
            body = self._open(announcement, wire)
        except Refusal as refusal:
            return [(Verdict.refused(announcement.peer, refusal.reason, refusal.detail), None)]
        verified: list[Verified] = []
        pixels_left, unjudged, over = MAX_BODY_PIXELS, 0, 0.0
        worked = thread_seconds()
        for place, shared in enumerate(body.groups):
            refused = sum(verdict.outcome is Outcome.REFUSED for verdict, _ in verified)
            left = f"{len(body.groups) - place} further groups were not looked at"
            if unjudged >= MAX_UNJUDGED_OF_BODY:
                return [*verified, (Verdict(Outcome.UNUSABLE, body.sender, detail=left), None)]
            if refused >= MAX_REFUSALS or over > BODY_SECONDS:
                return [*verified, (_broken_off(body.sender, verified, left), None)]
            try:
                verified.append(self._verify_group(body.sender, shared, pixels_left, BODY_SECONDS - over))
            except CostlyProblemError as costly:  # the others may be as costly
                detail = f"a problem of {costly} takes too long to make for this peer now; {left}"
                return [*verified, (Verdict(Outcome.UNUSABLE, body.sender, detail=detail), None)]
            before, worked = worked, thread_seconds()
            if not verified[-1][0].no_verdict:  # those have a bound of their own, and are held against nobody
                over += max(0.0, worked - before - _price(*verified[-1]))
            pixels_left -= opened_bytes(shared)
            unjudged += verified[-1][0].no_verdict
        return verified

    def remember_own(self, groups: Iterable[PackedGroup]) -> None:
        """Marks the groups of an own body as given by this node, so that what others copy of them counts once."""
        for packed in groups:
            problem = packed.group.problem
            contents = contents_of(packed.group, packed.images)
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
        """The decoded body. Raises Refusal when it must not be looked into further."""
        if len(wire) > MAX_BODY or len(wire) != announcement.size:
            raise Refusal(Reason.SIZE, f"{len(wire)} bytes, announced {announcement.size}, limit {MAX_BODY}")
        if hashlib.sha256(wire).digest() != announcement.digest:
            raise Refusal(Reason.DIGEST, "not the announced bytes")
        try:
            body = decode_body(wire)
        except DecodeError as error:
            self.guard.remember_body(announcement.digest, announcement.peer)
            raise Refusal(Reason.DECODE, str(error)) from error
        self._check_envelope(announcement, body)
        if self.guard.knows_body(announcement.digest):
            raise Refusal(Reason.REPLAY, "this body was here before")
        self.guard.remember_body(announcement.digest, announcement.peer)
        late = self._age_fault(announcement)
        if late is not None:
            age = self._clock() - announcement.created
            raise Refusal(late, f"announced {age:.0f} s ago, maximum {self.settings.max_age:.0f} s")
        return body

    def _check_envelope(self, announcement: Announcement, body: Body) -> None:
        if not self.swarm == announcement.swarm == body.swarm:
            raise Refusal(Reason.SWARM, "of another swarm")
        if body.sender != announcement.peer:
            raise Refusal(Reason.SENDER, "the body names another sender than its announcement")
        announced = announcement.summary
        counts = (body.round, body.policy_version, len(body.groups), body.rollouts, body.fingerprint)
        if counts != (
            announced.round,
            announced.policy_version,
            announced.groups,
            announced.rollouts,
            announced.fingerprint,
        ):
            raise Refusal(Reason.SUMMARY, "counts or versions are not the announced ones")

    def _verify_group(
        self, peer: str, shared: SharedGroup, pixels_left: int, seconds_left: float
    ) -> Verified:
        if self._is_unsupported(shared.task):
            return _about(
                Verdict(Outcome.UNUSABLE, peer, detail="the own policy makes no such thing"), shared
            ), None
        try:
            if opened_bytes(shared) > pixels_left:
                raise Refusal(Reason.IMAGE, f"images of over {MAX_BODY_PIXELS} bytes opened in one body")
            read = self._rebuild(peer, shared, seconds_left)
        except Refusal as refusal:
            return _about(Verdict.refused(peer, refusal.reason, refusal.detail), shared), None
        known = self.guard.meet(peer, shared.task, shared.seed, read.contents)
        if not read.judged:
            return _no_verdict(peer, shared), None
        fresh = read.without(known)
        if any(known) and len(fresh.group.rollouts) < LEAST_ROLLOUTS:
            verdict = Verdict(Outcome.KNOWN, peer, detail="another peer gave these before", known=sum(known))
            return _about(verdict, shared), None
        return _passed(peer, fresh, sum(known)), fresh.group

    def _rebuild(self, peer: str, shared: SharedGroup, seconds_left: float) -> ReadGroup:
        """The scored group as if this node's policy had written its texts or made its images. Raises Refusal."""
        if shared.seed >= HELD_OUT_SEED:
            raise Refusal(Reason.HELD_OUT, "a problem that is for evaluation alone")
        if self.guard.is_replay(peer, shared.task, shared.seed):
            raise Refusal(Reason.REPLAY, "this peer gave a group of this problem before")
        task = self._tasks.get(shared.task)
        if task is None:
            raise Refusal(Reason.TASK, "not a task of this swarm")
        try:
            return self._rescore(task, peer, shared, seconds_left)
        except (Refusal, CostlyProblemError):
            raise
        except Exception as error:  # the peer inbox: no text may end it through a faulty task
            log.error("task %s failed on a group of %s: %s", task.name, peer, type(error).__name__)
            raise Refusal(Reason.FAULT, f"a check failed with {type(error).__name__}") from error

    def _rescore(self, task: Task, peer: str, shared: SharedGroup, seconds_left: float) -> ReadGroup:
        earned = MOST_EARNED if self._shows_a_lesson(task, peer, shared) else 0.0
        work = ThreadWork()
        reading, all_of_it = min(GROUP_SECONDS, seconds_left), min(2 * GROUP_SECONDS, seconds_left)
        reader = self._reader(lambda worth: work.exceeds(reading + min(worth, earned)))
        read = reader.read(task, peer, shared)
        return read.scored(task, lambda worth: work.exceeds(all_of_it + min(worth, earned)))

    def _reader(self, late: Late) -> GroupReader:
        limits = self.settings
        return GroupReader(self._encode, limits.max_characters, limits.fit, late, self._budget)

    def _shows_a_lesson(self, task: Task, peer: str, shared: SharedGroup) -> bool:
        """Whether two rollouts of a large group of text have unlike rewards, and at least half of it is new.

        Its sender's claims say which two; what they are worth is judged here.
        """
        if len(shared.rollouts) <= PROMPT_ROLLOUTS or isinstance(task, ImageTask):
            return False
        known = self.guard.known(peer, shared.task, shared.seed, [r.text for r in shared.rollouts])
        fresh = [rollout for rollout, is_known in zip(shared.rollouts, known, strict=True) if not is_known]
        if 2 * len(fresh) < len(shared.rollouts):
            return False
        extremes = (min(fresh, key=_claim), max(fresh, key=_claim))
        if _claim(extremes[0]) == _claim(extremes[1]):
            return False
        try:
            pair = self._reader(in_time).read(task, peer, replace(shared, rollouts=extremes))
            return not pair.scored(task, in_time).group.zero_advantage
        except Refusal:
            return False


def _claim(rollout: SharedRollout) -> float:
    return rollout.claimed_reward


def _price(verdict: Verdict, group: Group | None) -> float:
    """Processor seconds that a group is worth: none where there is nothing to learn from it."""
    if group is None or verdict.outcome is not Outcome.ACCEPTED:
        return 0.0
    return SECONDS_A_GROUP + sum(map(worth_of, group.rollouts))


def _broken_off(peer: str, verified: Sequence[Verified], left: str) -> Verdict:
    """On the groups that were not looked at any more.

    Large good groups are slow too, and of an able peer's many have equal rewards: nobody is to blame where a half was
    good, or a quarter and nothing was refused.
    """
    outcomes = [verdict.outcome for verdict, _ in verified]
    wanted = 2 if Outcome.REFUSED in outcomes else 4
    if wanted * outcomes.count(Outcome.ACCEPTED) >= len(outcomes):
        return Verdict(Outcome.UNUSABLE, peer, detail=left)
    return Verdict.refused(peer, Reason.WASTE, left)


def _about(verdict: Verdict, shared: SharedGroup) -> Verdict:
    return replace(verdict, task=shared.task, seed=shared.seed, rollouts=len(shared.rollouts))


def _no_verdict(peer: str, shared: SharedGroup) -> Verdict:
    """On a group whose rollouts could not be judged in time, which is no fault of its peer's that could be shown."""
    detail = "its verifier came to no end in time"
    return _about(Verdict(Outcome.UNUSABLE, peer, detail=detail, no_verdict=len(shared.rollouts)), shared)


def _passed(peer: str, read: ReadGroup, known: int) -> Verdict:
    group, shared = read.group, read.shared
    return Verdict(
        Outcome.SET_ASIDE if group.zero_advantage else Outcome.ACCEPTED,
        peer=peer,
        task=shared.task,
        seed=shared.seed,
        rollouts=len(group.rollouts),
        mean_reward=group.mean_reward,
        claim_mismatches=_mismatches(shared, group),
        known=known,
        left_out=read.left_out,
        no_verdict=read.unjudged,
    )


def _mismatches(shared: SharedGroup, group: Group) -> int:
    """Claims that the own verifier does not confirm; one about a text that was cut here says nothing."""
    pairs = zip(shared.rollouts, group.rollouts, group.rewards, strict=True)
    return sum(
        claimed.text == rollout.text
        and not math.isclose(claimed.claimed_reward, own, abs_tol=CLAIM_TOLERANCE)
        for claimed, rollout, own in pairs
    )
