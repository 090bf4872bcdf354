"""`murmur replay --round N`: a round again from the store, its rewards recomputed by its tasks' verifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from typing import Any, Final

from rich.console import Console

from node.config.schema import Config
from node.storage.events import History, ProblemEvent, RoundEvent
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import KeptRollout, RefusedGroup, RolloutQuery
from node.storage.run_folder import RunFolder
from node.ui.fitted_table import FittedTable
from node.ui.inspect.empty_answer import why_no_rollouts
from node.ui.inspect.errors import InspectError
from node.ui.inspect.replay import Replayed, replay, task_of
from node.ui.inspect.rollout_list import advantage_cell, origin_cell
from node.ui.inspect.stats import phase_seconds
from node.ui.round_columns import format_loss, format_refused
from node.ui.run_view import WHOLE_ROWS, new_console
from node.ui.terminal.window import say_lines
from swarm.visible_text import counted, one_line, plain_json

LIMIT: Final = 100_000  # rollouts of a round
COLUMNS: Final = ("first id", "from", "task", "seed", "right at first", "rewards", "advantages", "again")
LEAST = {"advantages": 20, "rewards": 11, "task": 10, "right at first": 6, "first id": 5}  # characters


@dataclass(frozen=True, slots=True)
class ReplayedGroup:
    """A group as it is kept, and each of its rollouts scored again; `trouble` says why none could be."""

    rollouts: Sequence[KeptRollout]
    problem: ProblemEvent | None  # how hard it was; None for a peer's
    again: Sequence[Replayed]
    trouble: str = ""

    @property
    def agrees(self) -> bool:
        return all(each.agrees for each in self.again)


def show_round(folder: RunFolder, number: int, *, as_json: bool) -> bool:
    """Prints a round, and returns whether every kept reward is what its verifier gives.

    Raises InspectError for a round that was not played or is not kept, StoreError, ConfigError, TaskError.
    """
    history, kept = History(folder.events), RolloutHistory(folder.events)
    query = RolloutQuery(round=number, limit=LIMIT)
    event = next((each for each in history.rounds() if each.round == number), None)
    rollouts = sorted(kept.find(query), key=lambda each: each.id)
    if event is None or not rollouts:
        raise InspectError(why_no_rollouts(folder.events, query))
    problems = {(each.task, each.seed): each for each in history.problems() if each.round == number}
    groups = replay_groups(folder.read_config(), kept, rollouts, problems)
    refused = kept.refused(query)
    console = new_console(WHOLE_ROWS)
    if as_json:
        console.out(plain_json(_told(event, groups, refused)), highlight=False)
    else:
        _print(console, folder, event, groups, refused)
    return all(group.agrees for group in groups)


def replay_groups(
    config: Config,
    kept: RolloutHistory,
    rollouts: Sequence[KeptRollout],
    problems: dict[tuple[str, int], ProblemEvent],
) -> list[ReplayedGroup]:
    """Groups in the order in which they are kept; a task is built, and its models loaded, once."""
    build = cache(lambda name: task_of(config, name))
    found = []
    for _, members in groupby(rollouts, key=lambda each: each.group):
        group = tuple(members)
        first = group[0]
        problem = problems.get((first.task, first.seed)) if first.origin is None else None
        try:
            task = build(first.task)
            again = [replay(task, each, kept.image(each.id)) for each in group]
            found.append(ReplayedGroup(group, problem, again))
        except InspectError as error:  # cut texts, or a task that this version has not: the others are told
            found.append(ReplayedGroup(group, problem, (), str(error)))
    return found


def _told(
    event: RoundEvent, groups: Sequence[ReplayedGroup], refused: Sequence[RefusedGroup]
) -> dict[str, Any]:
    return {
        "figures": asdict(event),
        "groups": [asdict(group) | {"agrees": group.agrees} for group in groups],
        "refused": [asdict(each) for each in refused],
    }


def _print(
    console: Console,
    folder: RunFolder,
    event: RoundEvent,
    groups: Sequence[ReplayedGroup],
    refused: Sequence[RefusedGroup],
) -> None:
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in phase_seconds([event]).items())
    say_lines(
        f"{folder.path}, round {event.round}: own reward {event.reward:.3f}, {event.tokens:,} tokens, "
        f"{event.seconds:.2f} s" + (f" ({phases})" if phases else "")
    )
    say_lines(_update_words(event))
    fitted = FittedTable(COLUMNS, list(map(_cells, groups)), console.width, LEAST, ("seed",), fold=True)
    console.print(fitted.table())
    if refused:
        counts = format_refused(Counter(each.reason for each in refused))
        say_lines(f"refused of peers: {one_line(counts)}")
    for trouble in dict.fromkeys(group.trouble for group in groups if group.trouble):
        say_lines(one_line(trouble, 400))
    again = [each for group in groups for each in group.again]
    differ = [each.id for each in again if not each.agrees]
    verdict = f"these DIFFER: {', '.join(map(str, differ))}" if differ else "all agree with what is kept"
    say_lines(f"{counted(len(again), 'rollout')} scored again: {verdict}")


def _update_words(event: RoundEvent) -> str:
    own = counted(event.trained_local, "own group")
    empty = f", {counted(event.missing_external, 'place')} left empty" if event.missing_external else ""
    drawn = f"{own} and {event.trained_external} of peers{empty}"
    if event.diverged is not None:
        return f"update: undone ({event.diverged})"
    if event.loss is None:
        return "update: none, as no group had an advantage"
    figures = {"gradient norm": event.grad_norm, "entropy": event.entropy, "KL": event.kl}
    told = "".join(f", {name} {value:.4g}" for name, value in figures.items() if value is not None)
    return f"update: {drawn}; loss {format_loss(event.loss)}{told}; policy version {event.policy_version} after it"


def _cells(group: ReplayedGroup) -> list[str]:
    first, problem = group.rollouts[0], group.problem
    hardness = f"{problem.correct} of {problem.rollouts}" if problem else "-"
    trained = [each for each in group.rollouts if each.advantage is not None]
    advantages = " ".join(f"{each.advantage:+z.3f}" for each in trained) or advantage_cell(first)
    again = "-" if group.trouble else "agrees" if group.agrees else "DIFFERS"
    rewards = " ".join(f"{each.reward:.3g}" for each in group.rollouts)
    where = (str(first.id), origin_cell(first), one_line(first.task), str(first.seed))
    return [*where, hardness, rewards, advantages, again]
