"""Gossip: publishes own groups and fills the pool with those of others, while the node generates and trains.

The loop never waits for it, and publishing never waits for fetches: each has a thread of its own. What a peer or the
network does wrong is a verdict, a counter and one log line.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from policies.rollout import Group
from swarm.admission.peer_records import Standing
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Outcome, Verdict
from swarm.errors import TransportError
from swarm.gossip.body_selection import TRIES_A_BODY, WaitingGroups, fails_to_deliver, select_bodies
from swarm.gossip.fetch_pool import FetchPool
from swarm.gossip.heard_peers import HeardPeers
from swarm.gossip.outbox import Outbox, OwnRound
from swarm.gossip.refusals_to_tell import RefusalsToTell
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import Transport, TransportStatus
from swarm.wire.announcement import Announcement, summarise
from swarm.wire.body import PackedGroup, share, shareable
from swarm.wire.body_codec import encode_body

log = logging.getLogger(__name__)

_KEPT_VERDICTS = 4096  # between two drains; the counters stay exact beyond it
_KEPT_TRIES = 4096  # announcements whose fetches are counted
_MAX_KNOWN = 256  # peers that the transport is told of
_KEPT_SET_ASIDE = 32  # groups between two drains, for whoever looks at rollouts
_KEPT_PIXELS = 2**18  # bytes of a group's images beyond which it is not one of them
_CLOSE_SECONDS = 5.0  # a fetch under way may last longer; it ends when the transport is closed


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What gossip did between two looks at it."""

    offered: int  # own groups that peers can fetch now
    verdicts: tuple[Verdict, ...]  # oldest first
    set_aside: tuple[Group, ...] = ()  # the newest of the groups from which nothing can be learnt


class Gossip:
    """One node's exchange with its swarm. Thread-safe, except `step`.

    Either `start` runs cycles on a thread until `close`, or the caller runs them by `step`; not both at once.
    """

    def __init__(
        self,
        transport: Transport,
        verifier: RolloutVerifier,
        pool: ExternalPool,
        clock: Callable[[], float],
        generator: np.random.Generator,
        settings: GossipSettings = GossipSettings(),
    ) -> None:
        self.settings = settings
        self._transport, self._verifier, self._pool = transport, verifier, pool
        self._clock, self._generator = clock, generator
        self._lock = threading.Lock()
        self._outbox = Outbox(settings.queue)
        self._offered = 0  # groups, since the last drain
        self._verdicts: deque[Verdict] = deque(maxlen=_KEPT_VERDICTS)
        self._set_aside: deque[Group] = deque(maxlen=_KEPT_SET_ASIDE)
        self._counters: Counter[str] = Counter()
        self._warnings: dict[str, str] = {}
        # By peer too: whoever announces another's digest must not use up the tries of its owner.
        self._tries: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._to_tell = RefusalsToTell()
        self._declined: list[Announcement] = []  # of the last look: they shall make room for others
        self._heard = HeardPeers(clock, settings.alone_after)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._fetchers = FetchPool(self._fetch, settings.parallel, settings.patience, self._is_known)

    def publish(self, groups: Iterable[Group], round: int, policy_version: int, fingerprint: str) -> None:
        """Queues own scored groups and returns at once. Nothing to do where nothing is shared."""
        if self.shares:
            self._enqueue([OwnRound(tuple(groups), round, policy_version, fingerprint)])

    def step(self) -> None:
        """One cycle on the caller's thread: publish what waits, find peers, fetch, examine, fill the pool."""
        for phase in (self._publish_waiting, self._collect):
            self._attempt(phase)

    def start(self) -> None:
        """Runs cycles on two threads. Raises RuntimeError while an earlier one still runs."""
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError("gossip runs already: close it before starting it again")
        self._stop.clear()
        phases = {"publish": self._publish_waiting, "gather": self._collect}
        self._threads = [
            threading.Thread(target=self._run, args=(phase,), name=f"gossip-{name}", daemon=True)
            for name, phase in phases.items()
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads within seconds. The transport, verifier and pool stay as they are. Idempotent."""
        self._stop.set()
        end = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._fetchers.close()

    def drain(self) -> Exchanged:
        """What happened since the last call."""
        with self._lock:
            exchanged = Exchanged(self._offered, tuple(self._verdicts), tuple(self._set_aside))
            self._offered = 0
            self._verdicts.clear()
            self._set_aside.clear()
        return exchanged

    def transport_status(self) -> TransportStatus:
        """The network side as it was last told."""
        return self._transport.status()

    def counters(self) -> dict[str, int]:
        """Events since the start: published, fetched, accepted, refused_<reason>, claim_mismatch, ..."""
        with self._lock:
            return dict(self._counters)

    @property
    def warnings(self) -> dict[str, str]:
        """What the owner should know of what is shared, by kind."""
        return dict(self._warnings)

    @property
    def shares(self) -> bool:
        """Whether this node exchanges at all; a silo wants no peers."""
        return self.settings.want > 0

    @property
    def alone(self) -> bool:
        """Peers are wanted, and none that gives something good is heard of (`HeardPeers.alone`)."""
        return self.shares and self._heard.alone

    @property
    def silence(self) -> float:
        """Seconds since a peer that gave something good was last heard of, or since this object was made."""
        return self._heard.silence

    def _run(self, phase: Callable[[], None]) -> None:
        failures = 0  # in a row
        while not self._stop.is_set():
            try:
                failures = 0 if self._attempt(phase) else failures + 1
            except Exception:  # the peer inbox: exchange may fail, training goes on
                self._count(fault=1)
                log.exception("a gossip cycle failed; the next one starts afresh")
            self._rest(failures)

    def _rest(self, failures: int) -> None:
        """Waits for the next cycle: longer after failures, but no longer than until a transport that was down is up.

        A slow start would otherwise cost as much time again.
        """
        healthy = self._transport.status().healthy
        pause = self._pause(failures, self.settings.late_pause if healthy else self.settings.longest_pause)
        if not failures or healthy:
            self._stop.wait(pause)
            return
        for _ in range(math.ceil(pause / self.settings.interval)):
            if self._stop.wait(self.settings.interval) or self._transport.status().healthy:
                return

    def _pause(self, failures: int, longest: float) -> float:
        return min(self.settings.interval * 2.0 ** min(failures, 16), max(longest, self.settings.interval))

    def _attempt(self, phase: Callable[[], None]) -> bool:
        try:
            phase()
        except TransportError as error:
            self._count(transport_failed=1)
            log.warning("the transport failed, training goes on: %s", error)
            return False
        return True

    def _publish_waiting(self) -> None:
        """Offers all rounds that wait as one body: of one peer, others look at the newest body only."""
        waiting = self._outbox.take()
        # The newest come first, so that the oldest are what a full body leaves out.
        withheld: Counter[str] = Counter()
        packed = shareable((group for work in reversed(waiting) for group in work.groups), withheld)
        if packed:
            self._publish_body(packed, waiting)
        self._note_withheld(withheld)

    def _publish_body(self, packed: Sequence[PackedGroup], waiting: Sequence[OwnRound]) -> None:
        """Raises TransportError, and what waited waits again."""
        newest, groups = waiting[-1], [each.group for each in packed]
        summary = summarise(groups, newest.round, newest.policy_version, newest.fingerprint)
        body = share(packed, self._verifier.swarm, self._verifier.peer, summary)
        self._verifier.remember_own(packed)
        try:
            self._transport.publish(encode_body(body), summary)
        except TransportError:
            self._enqueue(waiting, before=True)
            raise
        with self._lock:
            self._offered += len(groups)
            self._counters.update(published=1, published_groups=len(groups))

    def _note_withheld(self, withheld: Counter[str]) -> None:
        """Counts and logs what no peer would take: nobody else notices that it was never sent."""
        told = +withheld  # those above zero
        if told:
            self._count(**{f"withheld_{kind}": count for kind, count in told.items()})
            what = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in told.items())
            log.warning("not published, as larger than peers take: %s", what)
            self._warnings["withheld"] = (
                f"{what} of this round stayed at home, as larger than peers take: fewer rollouts of a problem, or "
                "shorter answers, are shared whole"
            )

    def _enqueue(self, rounds: Sequence[OwnRound], *, before: bool = False) -> None:
        if dropped := self._outbox.add(rounds, before=before):
            self._count(publish_dropped=dropped)

    def _collect(self) -> None:
        if not self.shares:
            return
        found = self._transport.announcements(self.settings.want, self._declined, self._known_peers())
        self._heard.note_found(found)
        self._leave_unusable(found)
        self._pool.expire(self._clock())
        self._declined = [a for a in found if self._has_no_use_for(a)]
        records = self._verifier.records
        waiting = WaitingGroups(self._pool.counts(), records, self.settings.enough)
        wanted = 0 if waiting.are_enough() else self.settings.fetches
        fits = lambda a: self._may_fetch(a) and not waiting.are_enough_of(a)  # noqa: E731
        chosen = select_bodies(found, fits, records, TRIES_A_BODY * wanted, self._generator)
        self._fetchers.gather(chosen, wanted, self.settings.deadline, self._take, self._patience(found))
        self._heard.note_looked()

    def _patience(self, found: Sequence[Announcement]) -> Callable[[str], float]:
        """Where some peers are known to deliver, the cycle waits briefly for others; for those that failed, always.

        Also while no known peer has anything new: a cycle that waits for a crowd misses what comes meanwhile.
        """
        settings, records = self.settings, self._verifier.records
        usual = settings.brief if any(self._is_known(a.peer) for a in found) else settings.patience

        def patience_with(peer: str) -> float:
            if fails_to_deliver(records, peer):
                return settings.brief
            return settings.patience if self._is_known(peer) else usual

        return patience_with

    def _known_peers(self) -> list[str]:
        return [p for p in self._verifier.records.peers() if self._is_known(p)][-_MAX_KNOWN:]

    def _is_known(self, peer: str) -> bool:
        return self._verifier.records.standing(peer) is Standing.KNOWN

    def _may_fetch(self, announcement: Announcement) -> bool:
        return not (self._has_no_use_for(announcement) or self._fetchers.busy_with(announcement))

    def _has_no_use_for(self, announcement: Announcement) -> bool:
        """The own, what was here or was tried in vain, what is too old, and what the own policy cannot take."""
        return (
            announcement.peer == self._verifier.peer
            or self._verifier.guard.knows_body(announcement.digest)
            or self._tries.get((announcement.peer, announcement.digest), 0) >= self.settings.tries
            or not self._verifier.is_fresh(announcement)
        )

    def _leave_unusable(self, found: Sequence[Announcement]) -> None:
        """Gives up unfetched, and counts once, the bodies that hold nothing for the own policy."""
        for announcement in found:
            key = (announcement.peer, announcement.digest)
            if not self._verifier.usable(announcement) and key not in self._tries:
                self._note_try(announcement, self.settings.tries)
                self._count(unusable_bodies=1, unusable_bytes=announcement.size)

    def _fetch(self, announcement: Announcement) -> bytes | None:
        if self._stop.is_set():
            return None
        with self._lock:
            refused = self._to_tell.take(announcement.peer)
        try:
            wire = self._transport.fetch(announcement, refused)
        except TransportError as error:
            with self._lock:
                self._to_tell.add(announcement.peer, refused)
            self._note_try(announcement)
            self._verifier.records.note_undelivered(announcement.peer)
            self._count(fetch_failed=1)
            log.info("no body from %s: %s", announcement.peer, error)
            return None
        self._note_try(announcement)
        self._count(fetched=1, fetched_bytes=len(wire))
        return wire

    def _note_try(self, announcement: Announcement, tries: int = 1) -> None:
        key = (announcement.peer, announcement.digest)
        with self._lock:
            self._tries[key] = self._tries.get(key, 0) + tries
            if len(self._tries) > _KEPT_TRIES:
                self._tries.popitem(last=False)

    def _take(self, announcement: Announcement, wire: bytes) -> bool:
        """Whether the body counts: something of it passed every check."""
        if self._stop.is_set():
            return False
        verified = self._verifier.verify(announcement, wire)
        for _, group in verified:
            if group is not None and not group.zero_advantage:
                self._pool.add(group, announcement.created)
            elif group is not None and group.image_bytes <= _KEPT_PIXELS:
                with self._lock:
                    self._set_aside.append(group)
        self._keep([verdict for verdict, _ in verified])
        good = any(verdict.checked for verdict, _ in verified)
        if good:
            self._heard.note_good(announcement)
        return good

    def _keep(self, verdicts: Sequence[Verdict]) -> None:
        labels = Counter(verdict.label for verdict in verdicts)
        with self._lock:
            dropped = max(0, len(self._verdicts) + len(verdicts) - _KEPT_VERDICTS)
            self._verdicts.extend(verdicts)
            self._to_tell.note(verdicts)
            self._counters.update(labels)
            self._counters.update(f"left_out_{reason}" for verdict in verdicts for reason in verdict.left_out)
            self._counters["claim_mismatch"] += sum(verdict.claim_mismatches for verdict in verdicts)
            self._counters["verdicts_dropped"] += dropped
        labels.update(f"rollouts left_out_{reason}" for verdict in verdicts for reason in verdict.left_out)
        if any(verdict.outcome is Outcome.REFUSED or verdict.left_out for verdict in verdicts):
            log.info("from %s: %s", verdicts[0].peer, ", ".join(f"{n} {what}" for what, n in labels.items()))

    def _count(self, **events: int) -> None:
        with self._lock:
            self._counters.update(events)
