"""Ctrl-C, SIGTERM and their like at any second: one line on what was saved and how to go on, then the end.

Three ways to meet them follow one another in a command. While it starts and loads, the process ends at once: an
exception raised amid the imports of large libraries ends in other errors than its own. A run then asks for the end of
its round (`RunView`). Other commands get KeyboardInterrupt, so that they close what they opened. Ctrl-\\ ends all of
them at once, and so does the kernel's word that no processor time is left.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from node.ui.terminal.window import in_window

# Schedulers announce the end of a job's time by SIGUSR1 or SIGUSR2.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
AT_ONCE = (signal.SIGQUIT, signal.SIGXCPU)
NUMBERS = (*ASKING, *AT_ONCE)
NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGHUP: "a closed terminal",
    signal.SIGQUIT: "Ctrl-\\",
    signal.SIGXCPU: "the limit on its processor time (ulimit -t)",
}

_advice: list[Callable[[], str]] = []  # what was saved and how to go on
_to_terminal: list[bytes] = []  # before the last line
_met: list[int] = []  # the signal that Stopped was raised for
_last_acts: list[Callable[[str], None]] = []  # before the process ends without unwinding; given what ended it


class Stopped(KeyboardInterrupt):
    """A signal that asks for the end came; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_at_once() -> None:
    """From now on a signal ends the process with one line, wherever it is."""
    handle(lambda number, _: leave(number), NUMBERS)


def raise_stopped() -> None:
    """From now on a signal raises Stopped; after it, another one ends the process at once."""
    _met.clear()
    handle(_raise)


def stopped_by() -> int:
    """The signal that Stopped was raised for, where that was met as a mere KeyboardInterrupt; else Ctrl-C's."""
    return (_met or [signal.SIGINT])[0]


@contextmanager
def held() -> Iterator[None]:
    """Signals that come meanwhile are met at the end: what a handler raises amid a fork is lost in its hooks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in NUMBERS}
    handle(lambda number, _: came.append(number), NUMBERS)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for met in came:
        signal.raise_signal(met)


def handle(
    handler: Callable[[int, FrameType | None], Any], numbers: Sequence[signal.Signals] = ASKING
) -> None:
    """From now on a signal of `numbers` calls `handler`."""
    for number in numbers:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        signal.signal(number, handler)


def on_leaving(advice: Callable[[], str], last_act: Callable[[str], None] | None = None) -> None:
    """What the last line says of the run that is under way, and what is put away first, given `cause`."""
    _advice[:] = [advice]
    _last_acts[:] = [last_act] if last_act else []


def give_terminal(control: bytes) -> None:
    """What standard output, a terminal, is given before the process ends without unwinding; empty for nothing."""
    _to_terminal[:] = [control]


def advice() -> str:
    """What was saved of the run under way and how to go on; empty where there is none."""
    with suppress(OSError):
        return _advice[-1]() if _advice else ""
    return ""


def cause(number: int) -> str:
    """`stopped by Ctrl-C`, or by another signal."""
    return f"stopped by {name_of(number)}"


def name_of(number: int) -> str:
    """What a person calls a signal."""
    return NAMES.get(signal.Signals(number), signal.Signals(number).name)


def stopping(number: int, how: str) -> str:
    """The answer to a first signal: what is done, `how`, and what a second one does."""
    if number == signal.SIGINT:
        return f"stopping {how}; press Ctrl-C again to stop at once"
    return f"told to stop by {name_of(number)}: stopping {how}; a second SIGTERM stops at once"


def ending(number: int) -> str:
    """The last line of a command that a signal ended."""
    return f"murmur: {cause(number)}; {more}" if (more := advice()) else f"murmur: {cause(number)}"


class StopRequest(threading.Event):
    """Set by the first signal that asks a command to stop serving."""

    def __init__(self) -> None:
        super().__init__()
        self.number: int = signal.SIGINT
        handle(self._come)

    def tell(self, rest: str) -> None:
        """The last line of the command: what ended it, and `rest`."""
        tell(f"murmur: {cause(self.number)}; {rest}")

    def _come(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self.set()


def leave(number: int) -> None:
    """Ends the process now. Whatever was half written is a draft under another name; children end with it."""
    for act in _last_acts:
        with suppress(OSError):
            act(cause(number))
    for control in _to_terminal:
        _write(1, control)
    tell(ending(number))
    os._exit(128 + number)


def tell(line: str) -> None:
    """One line on standard error, from a signal's handler.

    Nothing is waited for: neither for a lock, which a thread may hold that writes to a reader who does not read, as
    `less` does, nor for such a reader of standard error itself.
    """
    _write(2, f"{in_window(line, sys.stderr)}\n".encode())


def _write(descriptor: int, said: bytes) -> None:
    with suppress(OSError, ValueError):
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, said)


def _raise(number: int, frame: FrameType | None) -> None:
    end_at_once()
    _met[:] = [number]
    raise Stopped(number)
