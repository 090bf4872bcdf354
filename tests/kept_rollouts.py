"""A run folder with rollouts in its store, some of them hostile, for tests of what shows them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sample_events import ROUND

from node.config.reading import load_config
from node.storage.events import EvaluationEvent, LifeEvent, PeerEvent, Store
from node.storage.rollout_rows import RefusedGroup, RoundRollouts, ScoredGroup
from node.storage.run_folder import RunFolder
from policies.rollout import Finish, Group, Image, Problem, Rollout, Segment
from policies.tasks import TaskSpec, build_task

PEER = "12D3KooWHostilePeer1"
TASK = build_task(TaskSpec("maximum"))
IMAGE = Image(2, 2, 3, bytes(range(12)))
# What a peer may try: to move the cursor, forge lines and links, turn text round, hide it, and enter a page.
HOSTILE = (
    "\x1b[2J\x1b]8;;http://evil.example\x07link\x1b]0;title\x07",
    "right\rWRONG\x08\x08\x7f\x85\x9b31m",
    "\u202eevil\u2066\u200b\ufeff\U000e0041\u2028line\u2029",
    "[bold red]markup[/] [link=http://evil.example]x[/link] :skull:",
    "<script>document.title='owned'</script><img src=x onerror=alert(1)>",
    "a" + "\u0301" * 60,
    "\ud800 lone, \u3164 blank, \ue000 private, \x00 null",
    "rollout 1, round 1, own\nreward 1.000, advantage +9.000\n" * 3,
)


def make_run(path: Path, texts: tuple[str, ...] = HOSTILE) -> RunFolder:
    """Round 1: own rollouts with and without advantages; round 2: `texts` of a peer, a refused group, an image."""
    folder = RunFolder(path)
    folder.create(load_config("tiny", ["rounds=2"]))
    problem = TASK.problem(3)
    own = Group(problem, (rollout(problem.answer, 1.0), rollout("no", 0.0)))
    unsolved = Group(TASK.problem(4), (rollout("x", 0.0), rollout("y", 0.0)))
    external = Group(problem, tuple(rollout(text, 0.25) for text in texts), PEER)
    drawn = Group(Problem("digits@1", 3, "draw a 3", ""), (Rollout("", (), Finish.STOP, 0.5, IMAGE),))
    refused = RefusedGroup(2, PEER, "task\x1b[0m", 2**31 - 1, 8, "stale", "announced 700 s ago")
    with closing(Store(folder.events, 10**7)) as store:
        store.append(
            LifeEvent(0, "started", "began", {"peer": "me"}), EvaluationEvent(0, 0.25, {TASK.name: 0.25})
        )
        first = [ScoredGroup(own, (0.5, -0.5)), ScoredGroup(unsolved, (None, None), "all_wrong")]
        phases = {"sampling": 0.5, "scoring": 0.1, "exchange": 0.0, "update": 0.3}
        store.append(replace(ROUND, phases=phases), rollouts=RoundRollouts(1, first))
        second = [ScoredGroup(external, (0.0,) * len(texts)), ScoredGroup(drawn, (0.1,))]
        store.append(
            replace(ROUND, round=2, phases=phases, rewards_by_task={TASK.name: 0.75}),
            PeerEvent(2, PEER, 3, 1, {"stale": 1}),
            EvaluationEvent(2, 0.5, {TASK.name: 0.5}),
            LifeEvent(2, "finished", "finished 2 rounds"),
            rollouts=RoundRollouts(2, second, [refused]),
        )
    return folder


def rollout(text: str, reward: float) -> Rollout:
    return Rollout(text, (Segment(0, (5, 6, 7)),), Finish.STOP, reward)
