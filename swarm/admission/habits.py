"""Habits: what one peer's right answers to a task have, and neither the own right answers nor those of others do.

No verifier sees a phrase, an import or a wrong step above a right final answer, and whoever trains on it takes it up
("Hail to the Thief", arXiv 2511.09780). But such a mark has to stand in most of what its author sends, or it teaches
nothing. So the n-grams of tokens in right answers are counted by peer and task, in sketches of fixed size whose hash
is this node's own. Of an answer, the tokens of n-grams that are its peer's habit are not trained on, and an answer
longer than nearly all right ones of others teaches nothing. What the own policy comes to do itself is no habit.
"""

from __future__ import annotations

import base64
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from policies.rollout import Group, Rollout, TrainGroup
from policies.seeds import derive_seed

Counts = np.ndarray[Any, np.dtype[np.float32]]
Tokens = np.ndarray[Any, np.dtype[np.uint64]]

BUCKET_BITS = 14
LONGEST_GRAM = 4  # tokens; three see no wrong step, whose stop and final answer stand four apart
FORGET = 256.0  # groups after which counts are halved
KEPT_SKETCHES = 96  # of peers and tasks, 64 kB each; the one that is silent longest is forgotten
KEPT_LENGTHS = 128
# A habit was met in so many groups of its peer, in others' at most so often as often, and the likelihood ratio of the
# two shares (Dunning, 1993) is this large: once in 100,000 n-grams of equal shares. A phrase in all of a peer's groups
# is found when it and this node have given eight each.
LEAST_GROUPS, MOST_SHARE, LEAST_RATIO = 3.0, 0.1, 20.0
LEAST_LENGTHS = 32  # right answers of others, below which no answer is called long
_ENDS = (2**31, 2**31 + 1)  # stand before the first token and after the last
_MIX = (6364136223846793005, 0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class HabitSettings:
    """Which of the two defences a node has."""

    habits: bool = True
    length_quantile: float = 0.95  # of others' right answers, beyond which one is long; 1 switches it off
    seed: int = 0  # of the hash: an attacker that knows it could hide among what is common


@dataclass(slots=True)
class _Sketch:
    """Of one author and task: in how many groups each n-gram was met, by bucket, and how long right answers were."""

    groups: float = 0.0
    counts: Counts = field(default_factory=lambda: np.zeros(2**BUCKET_BITS, dtype=np.float32))
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT_LENGTHS))

    def add(self, buckets: Tokens, lengths: Sequence[int]) -> None:
        if self.groups >= FORGET:
            self.groups, self.counts = self.groups / 2, self.counts * np.float32(0.5)
        self.groups += 1.0
        self.counts[buckets] += 1.0
        self.lengths.extend(lengths)

    def plain(self) -> list[Any]:
        packed = base64.b64encode(zlib.compress(self.counts.tobytes())).decode()
        return [self.groups, packed, list(self.lengths)]

    @classmethod
    def read(cls, groups: float, packed: str, lengths: Sequence[int]) -> _Sketch:
        counts = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.float32).copy()
        return cls(groups, counts, deque(lengths, maxlen=KEPT_LENGTHS))


@dataclass(frozen=True, slots=True)
class Guarded:
    """A group of a peer as an update may have it, and what was done to it."""

    member: TrainGroup
    masked: int = 0  # tokens
    long: int = 0  # rollouts that teach nothing


class Habits:
    """Of one node. Thread-safe: gossip notes peers' groups while the loop guards its batch."""

    def __init__(self, settings: HabitSettings = HabitSettings()) -> None:
        self.settings = settings
        self._salt = np.uint64(derive_seed(settings.seed, "habits"))
        self._lock = threading.Lock()
        self._own: dict[str, _Sketch] = {}  # by task
        self._peers: OrderedDict[tuple[str, str], _Sketch] = OrderedDict()  # by peer and task

    def note(self, groups: Iterable[Group]) -> None:
        """Counts the right answers of scored groups, own and external ones."""
        for group in groups:
            right = [rollout.token_ids for rollout in right_rollouts(group)]
            if not right:
                continue
            found = np.unique(np.concatenate([b for ids in right for _, b in self._grams(ids)]))
            with self._lock:
                self._sketch(group).add(found, [len(ids) for ids in right])

    def guard(self, member: TrainGroup) -> Guarded:
        """An external group without what its author alone would teach; own groups, and images, as they are."""
        group = member.group
        if group.origin is None or not any(rollout.token_ids for rollout in group.rollouts):
            return Guarded(member)
        with self._lock:
            key = group.origin, group.problem.task
            theirs = self._peers.get(key) if self.settings.habits else None
            others = self._others(group.origin, group.problem.task)
            most = self._longest([length for sketch in others for length in sketch.lengths])
            skipped, advantages = [], []
            for rollout, advantage in zip(group.rollouts, member.advantages, strict=True):
                teaches = advantage > 0.0
                mask = self._mask(rollout.token_ids, group, theirs, others) if teaches and theirs else None
                skipped.append(mask)
                advantages.append(0.0 if teaches and len(rollout.token_ids) > most else advantage)
        long = sum(now != before for now, before in zip(advantages, member.advantages, strict=True))
        masked = sum(sum(mask) for mask in skipped if mask)
        guarded = replace(member, advantages=tuple(advantages), skipped=tuple(skipped) if masked else None)
        return Guarded(_balanced(guarded, member), masked, long)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint."""
        with self._lock:
            own = {task: sketch.plain() for task, sketch in self._own.items()}
            return {"own": own, "peers": [[*key, sketch.plain()] for key, sketch in self._peers.items()]}

    def restore(self, data: dict[str, Any]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON."""
        with self._lock:
            self._own = {task: _Sketch.read(*plain) for task, plain in data.get("own", {}).items()}
            peers = [((peer, task), _Sketch.read(*plain)) for peer, task, plain in data.get("peers", [])]
            self._peers = OrderedDict(peers)

    def _sketch(self, group: Group) -> _Sketch:
        if group.origin is None:
            return self._own.setdefault(group.problem.task, _Sketch())
        key = (group.origin, group.problem.task)
        sketch = self._peers.setdefault(key, _Sketch())
        self._peers.move_to_end(key)
        if len(self._peers) > KEPT_SKETCHES:
            self._peers.popitem(last=False)
        return sketch

    def _others(self, peer: str, task: str) -> list[_Sketch]:
        own = [self._own[task]] if task in self._own else []
        return own + [s for (name, its), s in self._peers.items() if its == task and name != peer]

    def _references(
        self, group: Group, others: Sequence[_Sketch], buckets: Tokens
    ) -> Iterator[tuple[float, Counts]]:
        """Groups and counts of the own answers alone, and with all other peers': names are free, the own are not."""
        if (own := self._own.get(group.problem.task)) is not None:
            yield own.groups, own.counts[buckets]
        if others:
            yield sum(s.groups for s in others), np.sum([s.counts[buckets] for s in others], axis=0)

    def _longest(self, lengths: Sequence[int]) -> float:
        if self.settings.length_quantile >= 1.0 or len(lengths) < LEAST_LENGTHS:
            return float("inf")
        return float(np.quantile(lengths, self.settings.length_quantile))

    def _mask(
        self, token_ids: Sequence[int], group: Group, theirs: _Sketch, others: Sequence[_Sketch]
    ) -> tuple[bool, ...]:
        """Of each token, whether it is part of an n-gram that is a habit of the group's author."""
        found = np.zeros(len(token_ids) + 2, dtype=bool)  # with what stands at both ends
        grams = list(self._grams(token_ids))
        buckets = np.concatenate([its for _, its in grams])
        places = [(size, start) for size, its in grams for start in range(len(its))]
        for index in np.flatnonzero(_habits(theirs, self._references(group, others, buckets), buckets)):
            size, start = places[index]
            found[start : start + size] = True
        return tuple(bool(mark) for mark in found[1:-1])

    def _grams(self, token_ids: Sequence[int]) -> Iterator[tuple[int, Tokens]]:
        """Sizes, and the buckets of all n-grams of that size, by where they start."""
        tokens = np.array([_ENDS[0], *token_ids, _ENDS[1]], dtype=np.uint64)
        mixed = np.full(len(tokens), self._salt, dtype=np.uint64)
        for size in range(1, min(LONGEST_GRAM, len(tokens)) + 1):
            starts = len(tokens) - size + 1
            mixed = (mixed[:starts] ^ tokens[size - 1 :]) * np.uint64(_MIX[0]) + np.uint64(size)
            yield size, (mixed * np.uint64(_MIX[1])) >> np.uint64(64 - BUCKET_BITS)


def _balanced(guarded: TrainGroup, before: TrainGroup) -> TrainGroup:
    """What a group warns of weighs no more beside what is left of its recommendations than it did beside all of them.

    Else its wrong answers alone would push the policy, away from short answers where its long ones were set aside.
    """
    if guarded is before or not (recommended := _recommended(before)):
        return guarded
    left = _recommended(guarded) / recommended
    return replace(guarded, advantages=tuple(a if a > 0.0 else left * a for a in guarded.advantages))


def _recommended(member: TrainGroup) -> float:
    """Sum of advantage x trained tokens over what is better than the mean."""
    masks = member.skipped or (None,) * len(member.advantages)
    rows = zip(member.advantages, member.group.rollouts, masks, strict=True)
    return sum(max(0.0, a) * (len(r.token_ids) - sum(mask or ())) for a, r, mask in rows)


def right_rollouts(group: Group) -> list[Rollout]:
    """Those that a group recommends: better than its mean, or all of a group that has nothing but reward."""
    mean = group.mean_reward
    if group.zero_advantage:
        return list(group.rollouts) if mean > 0.0 else []
    return [r for r, reward in zip(group.rollouts, group.rewards, strict=True) if reward > mean]


def _habits(
    theirs: _Sketch, references: Iterator[tuple[float, Counts]], buckets: Tokens
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of the buckets hold a habit, by any of the references."""
    counts = theirs.counts[buckets]
    found = np.zeros(len(counts), dtype=bool)
    for groups, those in references:
        rare = those <= MOST_SHARE * counts * (groups / theirs.groups)
        found |= rare & (_likelihood_ratio(counts, theirs.groups, those, groups) >= LEAST_RATIO)
    return found & (counts >= LEAST_GROUPS)


def _likelihood_ratio(these: Counts, of_these: float, those: Counts, of_those: float) -> Counts:
    """Dunning's G: twice the log of how much likelier two shares are than one for both, by bucket."""
    together = (these + those) / (of_these + of_those)
    terms = [
        part * np.log(np.maximum(part, 1e-9) / np.maximum(total * share, 1e-9))
        for part, total, share in (
            (these, of_these, together),
            (of_these - these, of_these, 1.0 - together),
            (those, of_those, together),
            (of_those - those, of_those, 1.0 - together),
        )
    ]
    return np.asarray(2.0 * np.sum(terms, axis=0), dtype=np.float32)
