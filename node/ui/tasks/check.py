"""`murmur tasks check`: rows of an own file as the policy will read them, and what the verifier makes of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from node.ui.terminal.window import say_aside
from policies.unjudged import SHOWN, reasons_heard
from swarm.visible_text import counted, indented

if TYPE_CHECKING:
    from policies.tasks.data_task import DataTask

MOST_UNJUDGED = 3  # texts without a verdict, after which no other is scored: each may have cost a minute
JUNK = "I do not know, perhaps none of them."


@dataclass(frozen=True, slots=True)
class Shown:
    """One row, and the reward of each completion that was tried on it; None is no verdict."""

    prompt: str
    answer: str
    rewards: dict[str, float | None]
    reasons: list[str]  # for each text that was tried and has none


Report = tuple["DataTask", list[Shown]]


def tried(tasks: Sequence[DataTask], rows: int) -> list[Report]:
    """Each task with its first rows and what its verifier gives for answers to them."""
    return [(task, _tried(task, rows)) for task in tasks]


def show_check(reports: Sequence[Report], *, as_json: bool) -> None:
    """Prints names, counts and some rows of each task, and warns where no right answer is taken for one."""
    if as_json:
        typer.echo(json.dumps({"tasks": [_plain(task, shown) for task, shown in reports]}, indent=2))
        return
    for task, shown in reports:
        typer.echo(
            f"{task.name}\n{counted(len(task.training), 'row')} to train on, {len(task.held_out)} for evaluation alone"
        )
        for row in shown:
            typer.echo(f"\n    {indented(row.prompt)}\n  answer:\n    {indented(row.answer)}\n  rewards:")
            for what, reward in row.rewards.items():
                typer.echo(f"    {'no verdict' if reward is None else f'{reward:.3f}':>10}  {what}")
        if warning := _warning(shown):
            say_aside(f"\n{warning}")


def _tried(task: DataTask, rows: int) -> list[Shown]:
    """The first rows of training; an answer of another row shows that not every answer is right."""
    shown, unjudged = [], 0
    for prompt, answer in task.training[:rows]:
        other = next((wrong for _, wrong in (*task.training, *task.held_out) if wrong != answer), None)
        completions = {
            "the answer alone": answer,
            "the answer, marked": f"So it is <answer>{answer}</answer>",
            **({"another row's answer": other} if other is not None else {}),
            repr(JUNK): JUNK,
            "nothing": "",
        }
        rewards: dict[str, float | None] = {}
        with reasons_heard() as reasons:
            for what, text in completions.items():
                rewards[what] = task.verifier.score(text, answer) if unjudged < MOST_UNJUDGED else None
                unjudged += rewards[what] is None
        shown.append(Shown(prompt, answer, rewards, reasons))
    return shown


def _warning(shown: Sequence[Shown]) -> str | None:
    unjudged = sum(reward is None for row in shown for reward in row.rewards.values())
    if unjudged:
        tried = sum(len(row.rewards) for row in shown)
        row = next(row for row in shown if None in row.rewards.values())
        why = f". The first: {row.reasons[0]}" if row.reasons else ""
        rest = f"; after {MOST_UNJUDGED} no other is tried" if unjudged > MOST_UNJUDGED else ""
        return f"no verdict on {unjudged} of {tried} texts{rest}{why}. Its prompt: {row.prompt[:SHOWN]!a}"
    if all(not (row.rewards["the answer alone"] or row.rewards["the answer, marked"]) for row in shown):
        return "no right answer got a reward: is the answer's form what the verifier looks for?"
    if any((row.rewards[repr(JUNK)] or 0.0) > 0.5 for row in shown):
        return "junk gets most of the reward: the verifier looks at the form alone"
    return None


def _plain(task: DataTask, shown: Sequence[Shown]) -> dict[str, Any]:
    return {
        "task": task.name,
        "digests": dict(task.digests),
        "training": len(task.training),
        "held_out": len(task.held_out),
        "rows": [
            {"prompt": row.prompt, "answer": row.answer, "rewards": row.rewards, "reasons": row.reasons}
            for row in shown
        ],
        "warning": _warning(shown),
    }
