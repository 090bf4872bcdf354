"""`murmur tasks check FILE.py:Class`: own code tried as a swarm will: pure, bounded, and total on hostile texts."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from node.ui.terminal.window import say_aside
from policies.unjudged import reasons_heard
from swarm.visible_text import indented

if TYPE_CHECKING:
    from policies.tasks.code_task import CodeTask

WALL_SECONDS = 20.0  # of a call: code that waits for ever is told soon
MOST_UNJUDGED = 3  # calls, after which no other is made
SEEDS = (*range(8), 2**31, 2**31 + 1)
HOSTILE = {
    "nothing": "",
    "10^5 digits": "9" * 100_000,
    "deep brackets": "[" * 20_000,
    "repeated letters": "a" * 20_000 + "!",
    "control characters": "\x00\x1b[2J\u202e",
    "code": "__import__('os').system('true')",
}


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What was found; without faults a swarm can train on the task."""

    task: str
    prompt: str
    answer: str
    own_answers: list[float | None]  # rewards of right answers
    hostile: dict[str, float | None]  # rewards of texts that a stranger may send; None: no verdict
    slowest: float  # seconds of one problem or score, its way to the process and back included
    faults: list[str]


def show_code_check(where: str, *, as_json: bool) -> bool:
    """Prints the report. Whether it is without faults."""
    report = examined(where)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
        return not report.faults
    typer.echo(f"{report.task}\n\n    {indented(report.prompt)}\n  answer:\n    {indented(report.answer)}\n")
    typer.echo(f"rewards of its own answers: {', '.join(map(_shown, report.own_answers))}")
    for what, reward in report.hostile.items():
        typer.echo(f"{_shown(reward):>12}  {what}")
    typer.echo(f"slowest call: {report.slowest:.3f} s")
    for fault in report.faults:
        say_aside(f"fault: {fault}")
    return not report.faults


def examined(where: str) -> CodeReport:
    """The task in two processes with unlike hash seeds. Raises TaskError where it does not load or makes no problem."""
    from policies.tasks.code_task import CODE, build_code_task
    from policies.tasks.task import TaskSpec

    name = where.rpartition(":")[2]
    tasks = [build_code_task(TaskSpec(f"code:{name}", {CODE: where}), hash_seed=seed) for seed in ("1", "2")]
    for task in tasks:
        task.worker.wall_seconds = WALL_SECONDS
    slowest, faults, reasons = 0.0, list[str](), list[str]()

    def timed_score(task: CodeTask, seed: int, text: str) -> float | None:
        nonlocal slowest
        if len(reasons) >= MOST_UNJUDGED:
            return None
        started = time.monotonic()
        with reasons_heard() as heard:
            reward = task.score(task.problem(seed), text)
        slowest = max(slowest, time.monotonic() - started)
        reasons.extend(heard)
        return reward

    made = [[task.problem(seed) for seed in SEEDS] for task in tasks]
    if made[0] != made[1] or made[0] != [tasks[0].problem(seed) for seed in SEEDS]:
        faults.append(
            "problem(seed) differs from call to call or process to process: draw from random.Random(seed) alone"
        )
    if len({problem.prompt for problem in made[0]}) == 1:
        faults.append("every seed gives the same problem")
    own = [timed_score(tasks[0], seed, problem.answer) for seed, problem in zip(SEEDS, made[0], strict=True)]
    if None in own:
        faults.append(f"no verdict on a right answer: {reasons[0]}")
    elif min(reward or 0.0 for reward in own) < 1.0:
        faults.append("a right answer alone does not get 1.0")
    hostile = {what: timed_score(tasks[0], SEEDS[0], text) for what, text in HOSTILE.items()}
    if hostile != {what: timed_score(tasks[1], SEEDS[0], text) for what, text in HOSTILE.items()}:
        faults.append("score differs from process to process")
    if unjudged := [what for what, reward in hostile.items() if reward is None]:
        faults.append(f"no verdict on {', '.join(unjudged)}: {reasons[0]}")
    first = made[0][0]
    return CodeReport(tasks[0].name, first.prompt, first.answer, own, hostile, slowest, faults)


def _shown(reward: float | None) -> str:
    return "no verdict" if reward is None else f"{reward:.3f}"
