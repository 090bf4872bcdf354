"""`murmur eval`: builds the contenders one after the other, has them answer, and shows what came of it."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from node.config.sections.policy import DiffusionPolicyConfig
from node.evaluation.answers import Answers, answer, interleaved, reserved
from node.evaluation.contender import Contender, contenders, tasks_of
from node.evaluation.errors import EvaluationError
from node.evaluation.options import Options
from node.evaluation.report import Report, report_of
from node.evaluation.statistics import INTERVALS
from node.runtime.build import build_policy, slow_start
from node.storage.checkpoint import POLICY, CheckpointError, round_of
from node.storage.run_folder import write_atomic
from node.ui import interrupts
from node.ui.patience import Patience
from node.ui.run_view import new_console
from node.ui.short_names import digests_left_out, short_tasks
from node.ui.terminal.window import say_aside, say_lines
from policies.error_words import brief
from policies.plain_files import read_json
from policies.policy import Policy, PolicyError
from policies.rollout import Problem
from policies.tasks import Task
from swarm.visible_text import counted, visible

MANY_CUT = 0.05  # of a contender's answers, from which on it is told
LEAST_NAME = 12  # characters of a task's name that its results keep beside them


def evaluate(options: Options, patience: Patience, *, as_json: bool) -> int:
    """Judges and shows; returns the exit code, a signal's where one ended it early. `patience` tells of long waits.

    Raises EvaluationError, RunFolderError, ConfigError, ExtraMissing, CheckpointError, TaskError, PolicyError.
    """
    subject, base = contenders(options)
    tasks = {task.name: task for task in tasks_of(options, subject)}
    problems = interleaved([reserved(task, options.problems) for task in tasks.values()])
    order = [subject] if base is None else [base, subject]
    found = _answers(order, problems, tasks, options, patience)
    _tell_unjudged(found, len(problems))
    for contender, answers in zip(order, found, strict=False):
        _tell_cut(contender, answers)
    if not (found and found[-1].groups) or len(found) < len(order):
        raise interrupts.Stopped(interrupts.stopped_by())
    labels = (subject.label, base.label if base else None)
    report = report_of(labels, found[-1], found[0] if base else None, options.rollouts, options.ks)
    texts = _texts(problems, order, found, options.show)
    _show(report, texts, as_json=as_json)
    _keep(report, subject)
    return 0 if report.complete else 128 + interrupts.stopped_by()


def _tell_unjudged(found: Sequence[Answers], problems: int) -> None:
    """Raises EvaluationError where nothing is left to compare: a scorer's silence is no model's fault."""
    if not (most := max((answers.unjudged for answers in found), default=0)):
        return
    first = next((answers.why_unjudged for answers in found if answers.why_unjudged), "")
    why = f". The first: {first}" if first else ""
    judged = set.intersection(*(set(answers.groups) for answers in found))
    if not judged and found[-1].complete:
        raise EvaluationError(f"no verdict on any of {counted(most, 'problem')}, so nothing can be said{why}")
    say_aside(f"left out: {most} of {counted(problems, 'problem')} with an answer without a verdict{why}")


def _tell_cut(contender: Contender, answers: Answers) -> None:
    policy = contender.config.policy
    if answers.cut_share < MANY_CUT or isinstance(policy, DiffusionPolicyConfig):
        return
    cap = policy.generation.max_new_tokens
    more = (
        "of a run policy.generation.max_new_tokens sets it, for a new one"
        if contender.run
        else "--max-new-tokens N lets them be longer"
    )
    say_aside(
        f"{contender.label}: {answers.cut_share:.0%} of the answers were cut at {cap} tokens before they ended: {more}"
    )


def _answers(
    order: Sequence[Contender],
    problems: Sequence[Problem],
    tasks: dict[str, Task],
    options: Options,
    patience: Patience,
) -> list[Answers]:
    """One after the other, so that one model at a time is in memory; no further than the one that was stopped."""
    found: list[Answers] = []
    policy: Policy | None = None
    for place, contender in enumerate(order):
        if policy is None or contender.config is not order[place - 1].config:
            policy = None
            gc.collect()
            loading = f"loading {contender.label}{slow_start(contender.config)}"
            say_aside(loading)
            patience.begin(loading)
            policy = build_policy(contender.config, lambda *_: None)
        _restore(policy, contender)
        label = contender.label
        patience.begin(f"answering as {label}")
        found.append(
            answer(
                policy,
                problems,
                tasks,
                options.rollouts,
                options.seed,
                lambda done, total, label=label: say_aside(  # type: ignore[misc]
                    f"{label}: {done} of {total} problems"
                ),
            )
        )
        if not found[-1].complete:
            break
    return found


def _restore(policy: Policy, contender: Contender) -> None:
    if contender.checkpoint is None:
        return
    try:
        policy.load(contender.checkpoint / POLICY)
    except Exception as error:  # the formats' readers fail on damaged files in ways of their own
        if not contender.checkpoint.exists():
            raise CheckpointError(
                f"{contender.checkpoint} is gone: the run went on meanwhile and keeps newer ones (checkpoint.keep): "
                "ask again, or once it has ended"
            ) from None
        if isinstance(error, PolicyError):
            raise
        raise CheckpointError(
            f"{contender.checkpoint} cannot be read ({brief(error)}): name another --round"
        ) from error


def _texts(
    problems: Sequence[Problem], order: Sequence[Contender], found: Sequence[Answers], show: int
) -> list[dict[str, Any]]:
    """The first answer of everybody to the first problems that all have answered."""
    told = [p for p in problems if all((p.task, p.seed) in answers.groups for answers in found)][:show]
    return [
        {
            "task": problem.task,
            "seed": problem.seed,
            "prompt": problem.prompt,
            "right": problem.answer,
            "answers": {
                contender.label: {"text": first.text, "reward": first.reward}
                for contender, answers in zip(order, found, strict=True)
                for first in [answers.groups[problem.task, problem.seed].rollouts[0]]
            },
        }
        for problem in told
    ]


def _keep(report: Report, subject: Contender) -> None:
    """Beside the run, for the card of what is exported of it; a second look at fewer problems takes no place there."""
    if subject.run is None or subject.checkpoint is None or not report.complete:
        return
    file = subject.run.evaluation(round_of(subject.checkpoint))
    file.parent.mkdir(exist_ok=True)
    if (kept := _problems_of(file)) > report.problems:
        say_aside(f"the card keeps the look at {kept} problems, this one has {report.problems}")
        return
    write_atomic(file, json.dumps(report.plain(), indent=2) + "\n")


def _problems_of(file: Path) -> int:
    """Of the judgement that is kept there; 0 for none that can be read."""
    try:
        return max(int(line["problems"]) for line in read_json(file)["lines"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """Where `width` has no room for figures and some of the task's name, intervals stand below their figures."""

    def needed(lines: Sequence[Sequence[str]]) -> int:
        columns = list(zip(head, *lines, strict=True))[1:]
        return sum(max(len(part) for cell in cells for part in cell.split("\n")) + 3 for cells in columns)

    if needed(rows) + LEAST_NAME > width:
        rows = [[cell.replace(" [", "\n[") for cell in row] for row in rows]
    whole = needed(rows) + LEAST_NAME <= width
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in head:
        table.add_column(name, no_wrap=whole and name != head[0])
    for row in rows:
        table.add_row(*row)
    return table


def _show(report: Report, texts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    console = new_console()
    if as_json:
        console.out(json.dumps(report.plain() | {"texts": list(texts)}), highlight=False)
        return
    short = short_tasks(line.task for line in report.lines)
    rows = [[short[task], *cells] for task, *cells in report.rows()]
    console.print(_table(report.head(), rows, console.width))
    say_lines(f"{report.rollouts} answers to each problem. {INTERVALS}.{report.in_words()}")
    if words := digests_left_out(short):
        say_lines(words)
    if not report.complete:
        say_lines("stopped early: only the problems that were answered by then are counted")
    for told in texts:
        say_lines(visible(f"\n{told['task']} {told['seed']}: {told['prompt']}\n  right: {told['right']}"))
        for label, first in told["answers"].items():
            say_lines(visible(f"  {label} ({first['reward']:.2f}): {first['text']}"))
