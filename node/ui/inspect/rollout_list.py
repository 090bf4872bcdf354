"""`murmur rollouts`: what was written for which problem, what it earned, and what the update made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console

from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import Holdings, KeptRollout, RefusedGroup, RolloutQuery, verdict_words
from node.storage.run_folder import RunFolder
from node.ui.fitted_table import FittedTable
from node.ui.inspect.empty_answer import why_no_rollouts, why_nothing_refused
from node.ui.invocation import murmur
from node.ui.run_view import new_console
from node.ui.short_names import digests_left_out, short_peer, short_tasks
from node.ui.terminal.window import say_lines
from swarm.visible_text import one_line, plain_json

COLUMNS = ("id", "round", "from", "task", "seed", "reward", "advantage", "finish", "tokens", "text")
REFUSED_COLUMNS = ("round", "from", "task", "seed", "rollouts", "reason", "detail")
# What gives way in a narrow window: characters to which a column may be cut, and columns that are left out.
LEAST = {"task": 14, "advantage": 14, "text": 18, "reason": 9, "detail": 20}
LESSER = ("tokens", "finish", "seed", "task")
LEGEND = (
    "advantage: what the update was told of it, or why it was not trained on (a peer's wrong answers push nothing by "
    "default: +0.000); own: written by this run's policy, else the peer's name; rewards are this node's own; finish "
    "length: cut at policy.generation.max_new_tokens"
)
SHOWN_CHARACTERS = 100  # of a text in the list
FOLLOW_SECONDS = 1.0  # between two looks for what is new
MOST_NEW = 10_000  # rollouts of one look


def show_rollouts(folder: RunFolder, query: RolloutQuery, *, as_json: bool) -> None:
    """Prints the rollouts that a query finds. Raises StoreError."""
    history = RolloutHistory(folder.events)
    found, holdings = history.find(query), history.holdings()
    console = new_console()
    if as_json:
        told = {
            "rollouts": [plain_rollout(each) for each in found],
            "fitting": history.fitting(query),
            "holdings": asdict(holdings),
        }
        return console.out(plain_json(told), highlight=False)
    if not found:
        say_lines(why_no_rollouts(folder.events, query))
        return _print_holdings(holdings)
    short = short_tasks(each.task for each in found)
    fitted = _fitted(console, COLUMNS, [_cells(each, short) for each in found])
    console.print(fitted.table(str(folder.path)))
    say_lines("; ".join(filter(None, (LEGEND, digests_left_out(short), fitted.remark))))
    say_lines(how_many(len(found), history.fitting(query)))
    _print_holdings(holdings)
    hint = murmur("rollouts", "show", found[0].id, folder.path)
    say_lines(f"One of them whole, with its problem: {hint}")


def follow_rollouts(folder: RunFolder, query: RolloutQuery, *, as_json: bool) -> None:
    """Prints the newest rollouts that a query finds, oldest first, and then those that come, until the run ends.

    With `as_json` a line a rollout. Raises StoreError.
    """
    history, console = RolloutHistory(folder.events), new_console()
    seen, query = 0, replace(query, after=0)
    heads: tuple[str, ...] = ()
    while True:
        lives = folder.in_use()  # asked first: what it writes last is read all the same
        found = history.find(query)[::-1]
        if as_json:
            for each in found:
                console.out(plain_json(plain_rollout(each)), highlight=False)
        elif found:
            short = short_tasks(each.task for each in found)
            fitted = _fitted(console, COLUMNS, [_cells(each, short) for each in found])
            console.print(fitted.table("" if seen else str(folder.path), heads=fitted.shown != heads))
            heads = fitted.shown
        seen = found[-1].id if found else min(seen, history.newest())  # a resumed run plays rounds again
        if not lives:
            break
        query = replace(query, after=seen, limit=MOST_NEW)
        time.sleep(FOLLOW_SECONDS)
    if not as_json:
        say_lines(f"{folder.path}: no process plays this run now, so nothing more comes.")


def show_refused(folder: RunFolder, query: RolloutQuery, *, as_json: bool) -> None:
    """Prints the groups of peers that were refused. Raises StoreError."""
    history = RolloutHistory(folder.events)
    found, console = history.refused(query), new_console()
    if as_json:
        return console.out(plain_json({"refused": [asdict(each) for each in found]}), highlight=False)
    if not found:
        return say_lines(f"{folder.path}: {why_nothing_refused(folder.events, query)}")
    rows = [[one_line(cell) for cell in _refused_cells(each)] for each in found]
    console.print(_fitted(console, REFUSED_COLUMNS, rows).table(str(folder.path)))
    say_lines(how_many(len(found), history.refused_fitting(query)))
    say_lines("What was refused is not kept; a group without a task is a whole body.")


def plain_rollout(rollout: KeptRollout) -> dict[str, Any]:
    """As JSON has it: everything, the text exact."""
    return asdict(rollout) | {"own": rollout.origin is None, "cut": rollout.cut}


def advantage_cell(rollout: KeptRollout) -> str:
    """The advantage, or the reason why there is none."""
    if rollout.advantage is not None:
        return f"{rollout.advantage:+z.3f}"
    return one_line(verdict_words(rollout.reason or ""))


def fate(rollout: KeptRollout) -> str:
    """`advantage +0.500`, or `not trained on: equal rewards (all wrong)`."""
    told = advantage_cell(rollout)
    return f"advantage {told}" if rollout.advantage is not None else f"not trained on: {told}"


def text_cell(rollout: KeptRollout) -> str:
    """One line of what was written or drawn."""
    if rollout.image is not None:
        return f"an image of {rollout.image[0]} x {rollout.image[1]}"
    return one_line(rollout.text, SHOWN_CHARACTERS)


def origin_cell(rollout: KeptRollout) -> str:
    return "own" if rollout.origin is None else one_line(short_peer(rollout.origin))


def _cells(rollout: KeptRollout, short: Mapping[str, str]) -> list[str]:
    figures = (advantage_cell(rollout), rollout.finish.value, str(rollout.tokens))
    first = (
        str(rollout.id),
        str(rollout.round),
        origin_cell(rollout),
        one_line(short[rollout.task]),
        str(rollout.seed),
    )
    return [*first, f"{rollout.reward:.3f}", *figures, text_cell(rollout)]


def _refused_cells(refused: RefusedGroup) -> list[str]:
    seed = "" if refused.seed is None else str(refused.seed)
    where = (str(refused.round), short_peer(refused.peer), refused.task, seed, str(refused.rollouts))
    return [*where, refused.reason, refused.detail]


def _fitted(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> FittedTable:
    lesser = LESSER if columns is COLUMNS else ()
    return FittedTable(columns, rows, console.width, LEAST, lesser)


def how_many(shown: int, fitting: int) -> str:
    """`8 of 32 that fit; --limit N shows more.`"""
    if shown == fitting:
        return f"{shown} that fit, all shown."
    return f"{shown} of {fitting:,} that fit; --limit N shows more."


def _print_holdings(held: Holdings) -> None:
    """Nothing where nothing was ever kept: why nothing was found has said so."""
    if held.kept or held.dropped:
        size = f"{held.size / 1e6:.1f} MB" if held.size >= 10**5 else f"{held.size / 1e3:.1f} kB"
        say_lines(f"Kept in all: {held.kept:,} rollout{'' if held.kept == 1 else 's'}, {size}.")
    if held.dropped:
        say_lines(
            f"{held.dropped:,} rollouts of rounds up to {held.thinned_to} were dropped for room, what is left begins "
            f"with round {held.first_round}: store.rollout_bytes sets how much is kept."
        )
