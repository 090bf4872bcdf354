"""`murmur rollouts show ID`: one rollout whole, its problem, and what else was written for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import KeptRollout, RolloutQuery
from node.storage.run_folder import RunFolder
from node.ui.inspect.empty_answer import why_no_rollouts
from node.ui.inspect.errors import InspectError
from node.ui.inspect.png import png_of
from node.ui.inspect.rollout_list import (
    advantage_cell,
    fate,
    how_many,
    origin_cell,
    plain_rollout,
    show_rollouts,
    text_cell,
)
from node.ui.invocation import murmur
from node.ui.run_view import new_console
from node.ui.terminal.window import say_lines
from swarm.visible_text import one_line, plain_json, quoted

POSITIVE_ALONE = (
    "  advantage +0.000: of peers this run takes only positive advantages (sampler.external_advantages), so their "
    "wrong rollouts push nothing"
)
GROUP_LIMIT = 64  # rollouts of the group that are printed


def find_rollout(history: RolloutHistory, folder: RunFolder, number: int) -> KeptRollout:
    """Raises InspectError where the store has no such rollout, StoreError for a store that cannot be read."""
    if (found := history.get(number)) is None:
        raise InspectError(
            f"{folder.path} keeps no rollout {number}: {murmur('rollouts', folder.path)} lists those that it has, "
            "with their ids"
        )
    return found


def show_rollout(folder: RunFolder, number: int, image: Path | None, *, as_json: bool) -> None:
    """Prints a rollout, and writes its image. Raises InspectError, StoreError, OSError."""
    history = RolloutHistory(folder.events)
    rollout = find_rollout(history, folder, number)
    of_group = RolloutQuery(group=rollout.group, limit=GROUP_LIMIT)
    size = history.fitting(of_group)
    group = history.find(replace(of_group, limit=size) if as_json else of_group)
    others = sorted((each for each in group if each.id != number), key=lambda each: each.id)
    if image is not None:
        _write_image(history, number, image)
    console = new_console()
    if as_json:
        told = plain_rollout(rollout) | {"others": [each.id for each in others]}
        return console.out(plain_json(told), highlight=False)
    _print(console, rollout, others)
    if (more := size - 1 - len(others)) > 0:
        say_lines(f"\nand {more:,} more, whose ids --json lists too")
    if image is not None:
        say_lines(f"\nits image is in {image}")


def show_groups(folder: RunFolder, query: RolloutQuery, *, as_json: bool) -> None:
    """Prints what a query finds by groups: the problem, the right answer, and each text whole. Raises StoreError."""
    if as_json:
        return show_rollouts(folder, query, as_json=True)
    history, console = RolloutHistory(folder.events), new_console()
    found = history.find(query)
    if not found:
        return say_lines(why_no_rollouts(folder.events, query))
    positive_alone = folder.read_config().sampler.external_advantages == "positive"
    say_lines(str(folder.path))
    for members in _grouped(found):
        first = members[0]
        where = f"round {first.round}, {origin_cell(first)}, {one_line(first.task)}, seed {first.seed}"
        say_lines(f"\n{where}")
        console.out(quoted(first.prompt), highlight=False)
        console.out(f"right answer: {one_line(first.answer) or '(judged by its scorer)'}", highlight=False)
        for each in members:
            figures = f"rollout {each.id}, reward {each.reward:.3f}, {fate(each)}"
            written = text_cell(each) if each.image is not None else each.text
            say_lines(f"  {figures}")
            console.out(quoted(written), highlight=False)
        if positive_alone and any(each.origin is not None and each.advantage == 0 for each in members):
            say_lines(POSITIVE_ALONE)
    say_lines(f"\n{how_many(len(found), history.fitting(query))}")


def _grouped(rollouts: Sequence[KeptRollout]) -> list[list[KeptRollout]]:
    """By group, in the order in which each comes first."""
    groups: dict[int, list[KeptRollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.group, []).append(rollout)
    return list(groups.values())


def _print(console: Console, rollout: KeptRollout, others: list[KeptRollout]) -> None:
    source = "own" if rollout.origin is None else f"from {one_line(rollout.origin)}"
    said = [
        f"rollout {rollout.id}, round {rollout.round}, {source}",
        f"{one_line(rollout.task)}, seed {rollout.seed}",
        f"reward {rollout.reward:.3f}, {fate(rollout)}",
        f"{rollout.tokens} tokens, finish {rollout.finish.value}",
    ]
    parts = [("prompt", rollout.prompt), ("answer", rollout.answer or "(judged by its scorer)")]
    wrote = "drew" if rollout.image is not None else "text"
    parts.append((wrote, text_cell(rollout) if rollout.image is not None else rollout.text))
    say_lines("\n".join(said))
    for name, text in parts:
        console.out(f"\n{name}\n{quoted(text)}", highlight=False)
    if rollout.cut:
        console.out(f"  (the store keeps {len(rollout.text):,} of {rollout.characters:,} characters)")
    if others:
        console.out("\nothers of its group")
    for other in others:
        figures = f"{other.id:>8}  {other.reward:.3f}  {advantage_cell(other):>12}"
        console.out(f"{figures}  {origin_cell(other)}  {text_cell(other)}", highlight=False)


def _write_image(history: RolloutHistory, number: int, path: Path) -> None:
    if (found := history.image(number)) is None:
        raise InspectError(f"rollout {number} is a text: leave out --image")
    path.write_bytes(png_of(found))
