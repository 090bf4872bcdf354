"""`murmur bench store`: what rollouts cost a node: processor time of a round's writing, and of looking at 100,000.

Texts are words drawn at random, 8 groups of 8 a round; half of the groups are of peers.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.storage.events import Event, ExternalEvent, PeerEvent, ProblemEvent, RoundEvent, Store
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery, RoundRollouts, ScoredGroup
from policies.rollout import Finish, Group, Problem, Rollout, Segment

GROUPS: Final = 8
SIZE: Final = 8  # rollouts a group
WORDS: Final = 60  # of a text, some 400 characters
ROUNDS: Final = 1563  # of 64: 100,032 rollouts
WHOLE: Final = 2**30  # bytes: room for all of them
TIGHT: Final = 8 * 2**20  # bytes: room for a quarter
WRITING_MS: Final = 5.0  # processor time of a round
LISTING_S: Final = 1.0
PAGE_S: Final = 2.0


def run(options: BenchOptions, progress: Progress) -> Report:
    """Fills a store with room for everything, looks at it, and fills one that has to thin. Raises Interrupted."""
    rounds = options.rounds or ROUNDS
    rows: list[Row] = []
    checks: list[Check] = []
    try:
        with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
            for name, limit in (("whole", WHOLE), ("tight", TIGHT)):
                progress(f"{name}: writing {rounds} rounds of {GROUPS} groups of {SIZE}")
                path = Path(folder) / name
                writing = fill(path, limit, rounds)
                checks.append(Check.of(f"{name}: ms of CPU a round", writing, ceiling=WRITING_MS))
                rows.append({"store": name, **_held(path)})
            looks = _looks(Path(folder) / "whole")
            for name, (look, ceiling) in looks.items():
                checks.append(Check.of(f"{name}, s", [_seconds(look) for _ in range(3)], ceiling=ceiling))
            over = RolloutHistory(Path(folder) / "tight").holdings().size / TIGHT
            checks.append(Check.of("tight: bytes held of those allowed", [over], ceiling=1.0))
    except KeyboardInterrupt:
        raise Interrupted(Report("store", options.machine, [0], rows, checks)) from None
    return Report("store", options.machine, [0], rows, checks)


def fill(path: Path, limit: int, rounds: int, *, events: bool = False) -> list[float]:
    """Milliseconds of processor time that each round's writing took; with its `events`, as a node writes it."""
    generator = random.Random(0)
    spent = []
    with closing(Store(path, limit)) as store:
        for number in range(1, rounds + 1):
            kept = RoundRollouts(number, [_group(number, place, generator) for place in range(GROUPS)])
            told = events_of(kept) if events else []
            began = time.process_time()
            store.append(*told, rollouts=kept)
            spent.append(1e3 * (time.process_time() - began))
    return spent


def events_of(kept: RoundRollouts) -> list[Event]:
    """What a round of these rollouts leaves beside them; its reward rises with the rounds, in steps."""
    groups = [each.group for each in kept.groups]
    own, external = [g for g in groups if g.origin is None], [g for g in groups if g.origin is not None]
    reward = min(1.0, 0.2 + kept.round % 100 / 200 + kept.round / 10_000)
    counts = {field.name: 0 for field in fields(RoundEvent) if field.type in ("int", "float", "float | None")}
    figures: dict[str, Any] = {
        **counts,
        "round": kept.round,
        "reward": reward,
        "rewards_by_task": {group.problem.task: reward for group in own},
        "refused": {"stale": 1},
        "dropped": {"all_right": 1},
        "trained_local": len(own),
        "trained_external": len(external),
        "policy_version": kept.round,
        "tokens": 2 * WORDS * SIZE * len(own),
        "seconds": 1.0,
        "phases": {"sampling": 0.6, "update": 0.3},
    }
    peers = [
        PeerEvent(kept.round, g.origin, 1, 0, {}, standing="known", usefulness=0.1)
        for g in external
        if g.origin
    ]
    taken = [
        ExternalEvent(kept.round, g.origin, g.problem.task, g.problem.seed) for g in external if g.origin
    ]
    problems = [
        ProblemEvent(kept.round, g.problem.task, g.problem.seed, 2, 4, SIZE, reward, None) for g in own
    ]
    return [RoundEvent(**figures), *peers, *taken, *problems]


def _group(round_number: int, place: int, generator: random.Random) -> ScoredGroup:
    rollouts = tuple(_rollout(generator, index) for index in range(SIZE))
    problem = Problem(f"task{place % 4}@1", GROUPS * round_number + place, _words(generator, 30), "42")
    origin = f"12D3KooWBenchPeer{place}" if place % 2 else None
    return ScoredGroup(Group(problem, rollouts, origin), tuple(r / SIZE for r in range(SIZE)))


def _rollout(generator: random.Random, index: int) -> Rollout:
    tokens = Segment(0, tuple(range(2 * WORDS)))
    return Rollout(_words(generator, WORDS), (tokens,), Finish.STOP, reward=index / SIZE)


def _words(generator: random.Random, count: int) -> str:
    return " ".join(f"{generator.randrange(16**6):x}" for _ in range(count))


def _looks(path: Path) -> Mapping[str, tuple[Callable[[], object], float]]:
    """What people ask for, each with the seconds that it may take."""
    history = RolloutHistory(path)

    def find(query: RolloutQuery) -> Callable[[], object]:
        return lambda: (history.find(query), history.holdings())

    return {
        "rollouts": (find(RolloutQuery()), LISTING_S),
        "rollouts --best": (find(RolloutQuery(order="best")), LISTING_S),
        "rollouts --worst --task": (find(RolloutQuery(task="task3", order="worst")), LISTING_S),
        "rollouts --peer": (find(RolloutQuery(peer="Peer1")), LISTING_S),
        "the page's 50 rollouts": (find(RolloutQuery(limit=50)), PAGE_S),
    }


def _seconds(look: Callable[[], object]) -> float:
    began = time.perf_counter()
    look()
    return time.perf_counter() - began


def _held(path: Path) -> dict[str, int | None]:
    held = RolloutHistory(path).holdings()
    file = path.stat().st_size
    return {"kept": held.kept, "dropped": held.dropped, "counted_bytes": held.size, "file_bytes": file}
