"""The terminal view of a run: a live table on a terminal, plain lines elsewhere, JSON lines for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from types import FrameType, TracebackType
from typing import Literal, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from node.storage.events import EvaluationEvent, LifeEvent, RoundEvent
from node.ui import interrupts
from node.ui.patience import Patience
from node.ui.round_columns import COLUMNS, Column, legend, plain_round, round_table
from node.ui.short_names import short_tasks
from node.ui.terminal.window import in_window, say_aside, told_width

OutputStyle = Literal["live", "plain", "json"]
BLOCKS = "▁▂▃▄▅▆▇█"
SHOWN_ROUNDS = 12
SHOW_CURSOR = b"\x1b[?25h"  # a live table hides it
PLAIN_WIDTH = 120  # characters, where no terminal sets it
WHOLE_ROWS = 2000  # characters: of a pipe's lines where each row is to stay one line with all of its columns


class _Console(Console):
    """Leaves a broken pipe to its user: rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def new_console(piped: int = PLAIN_WIDTH) -> Console:
    """Standard output as a table or a person's lines need it; peers' text in it is never read as markup.

    `piped`: characters of a line where it is no terminal and nothing says how wide what it ends in is.
    """
    width = None if sys.stdout.isatty() else told_width() or piped
    return _Console(highlight=False, markup=False, width=width)


def output_style(*, as_json: bool) -> OutputStyle:
    """JSON when asked for, live on a terminal, plain otherwise."""
    if as_json:
        return "json"
    return "live" if sys.stdout.isatty() else "plain"


class Screen:
    """Standard output in one of three styles: a table that redraws itself, lines for a person, JSON for a script."""

    def __init__(self, style: OutputStyle) -> None:
        self.style = style
        self._console = new_console()
        self._live = Live(console=self._console, auto_refresh=False) if style == "live" else None
        self.patience = Patience(self.say)
        self.reader_gone = False  # whoever read standard output, as `head` does, has gone away
        self._refused: OSError | None = None  # what a disk said that did not take standard output

    @property
    def width(self) -> int:
        """Characters that a line has room for now."""
        return self._console.width

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            interrupts.give_terminal(SHOW_CURSOR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_table()

    def end_table(self) -> None:
        """A live table stays as it is from here on; what is said comes below it."""
        if self._live:
            self._live.stop()
            interrupts.give_terminal(b"")
            self._live = None

    def redraw(self, table: RenderableType) -> None:
        """Replaces the live table; nothing in the other styles."""
        if self._live:
            with self._readable():
                self._live.update(table, refresh=True)

    def say(self, line: str) -> None:
        """One line for a person; on standard error in JSON, where standard output belongs to the script."""
        self.patience.spoke()
        if self.style == "json":
            with suppress(OSError, ValueError):
                say_aside(line)
            return
        with self._readable():
            self._console.out(in_window(line), highlight=False)

    def say_json(self, facts: Mapping[str, object]) -> None:
        """One JSON object on a line, whatever the style."""
        self.patience.spoke()
        with self._readable():
            self._console.out(json.dumps(facts), highlight=False)

    def print(self, table: Table) -> None:
        with self._readable():
            self._console.print(table)

    def tell_stopping(self, number: int, how: str) -> None:
        """The answer to a first signal, also for those who read no standard output."""
        # A live table makes room for the line; other output may stand in a write that its reader lets wait.
        told = self.say if self.style == "live" else interrupts.tell
        told(interrupts.stopping(number, how))

    def check_output(self) -> None:
        """Raises OSError where standard output could not be written, to a reader that went away too: that ended it."""
        if self._refused:
            raise self._refused
        if self.reader_gone:
            with suppress(OSError, ValueError):
                say_aside(f"murmur: nobody reads the output any more, which ended it; {interrupts.advice()}")
            raise BrokenPipeError

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """A reader that goes away, or output to a full disk, is noticed; what is said after it goes nowhere."""
        try:
            yield
        except OSError as error:
            self.reader_gone = True
            self._refused = None if isinstance(error, BrokenPipeError) else error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class RunView(Screen):
    """Shows one run's events as they come and turns Ctrl-C into a request to stop.

    The first Ctrl-C, SIGTERM or closed terminal lets the round end and saves; the second ends the process at once.
    """

    def __init__(self, style: OutputStyle, title: str, columns: Sequence[Column] = COLUMNS) -> None:
        super().__init__(style)
        self._title, self._columns = title, columns
        self._recent: list[RoundEvent] = []
        self._rewards: list[float] = []
        self._stop = False

    def __enter__(self) -> Self:
        self._stop = False
        interrupts.handle(self._on_signal)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupts.end_at_once()  # all that remains is to close
        super().__exit__(kind, error, trace)

    def on_round(self, event: RoundEvent) -> None:
        self._recent = [*self._recent[1 - SHOWN_ROUNDS :], event]
        self._rewards.append(event.reward)
        if self.style == "json":
            self.say_json({"event": "round", **asdict(event)})
        elif self.style == "plain":
            if len(self._rewards) == 1:
                self.say(legend(self._columns))
            self.say(plain_round(event, self._columns))
        self.redraw(
            round_table(
                f"{self._title}  {sparkline(self._rewards)}", self._recent, self._columns, *self._console.size
            )
        )
        self.wait_between_rounds(event.round)

    def wait_between_rounds(self, done: int) -> None:
        """From now on a wait is for what stands between the rounds: evaluation and checkpoint."""
        self.patience.begin(f"judging or saving after round {done}")

    def on_evaluation(self, event: EvaluationEvent) -> None:
        if self.style == "json":
            self.say_json({"event": "evaluation", **asdict(event)})
        self.say(f"held-out after round {event.round}: {event.reward:.3f}  {_by_task(event.rewards_by_task)}")

    def on_notice(self, event: LifeEvent) -> None:
        if self.style == "json":
            self.say_json({"event": event.what, **asdict(event)})
        self.say(event.note)

    def progress(self, what: str, done: int, total: int) -> None:
        """Long work that is not a round, such as the warm start: a line each tenth."""
        if done == total or done % max(1, total // 10) == 0:
            self.say(f"{what}: {done}/{total}")

    def should_stop(self) -> bool:
        return self._stop or self.reader_gone

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            interrupts.leave(number)
        self._stop = True
        self.tell_stopping(number, "after this round and saving")


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Values in [0, 1] as block characters, averaged down to at most `width` of them."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    means = [sum(part) / len(part) for part in _chunks(values, step)]
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(mean * len(BLOCKS)))] for mean in means)


def _chunks(values: Sequence[float], size: int) -> Iterable[Sequence[float]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _by_task(rewards: Mapping[str, float]) -> str:
    short = short_tasks(rewards)
    return "  ".join(f"{short[task]} {reward:.2f}" for task, reward in rewards.items())
