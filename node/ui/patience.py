"""Long silences: a line now and then that says what is still going on, so that nobody takes a wait for a hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from node.ui.terminal.window import say_aside

FIRST_SILENCE = 10.0  # seconds without a line before one is said; the further ones wait for
LONGEST_SILENCE = 20.0  # at the most


class Patience:
    """Says `still WHAT, N s so far` whenever nothing else was said for a while, from a thread of its own."""

    def __init__(self, say: Callable[[str], None], first: float = FIRST_SILENCE) -> None:
        self._say, self._first = say, first
        self._what, self._begun, self._next = "", 0.0, 0.0  # seconds of the monotonic clock
        self._gap = first
        self._over = threading.Event()

    def begin(self, what: str) -> None:
        """From now on the wait is for `what`, as in `loading the policy`."""
        self._what, self._gap, self._begun = what, self._first, time.monotonic()
        self._next = self._begun + self._gap

    def reword(self, what: str) -> None:
        """The same wait, told in other words."""
        self._what = what

    def spoke(self) -> None:
        """A line was said, so the silence is over."""
        self._next = time.monotonic() + self._gap

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Until the block is left; it begins with `what`."""
        self._over = threading.Event()
        self.begin(what)
        thread = threading.Thread(target=self._watch, name="patience", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def say_now(self) -> None:
        """The line, whenever the last one was said."""
        self._say(f"still {self._what}, {time.monotonic() - self._begun:.0f} s so far")

    def _watch(self) -> None:
        while not self._over.wait(max(0.01, self._next - time.monotonic())):
            if time.monotonic() >= self._next:
                self._gap = max(self._gap, min(2 * self._gap, LONGEST_SILENCE))
                self._next = time.monotonic() + self._gap
                self.say_now()


@contextmanager
def patient(what: str) -> Iterator[Patience]:
    """For a command without a view of its own: says on standard error what is waited for."""
    patience = Patience(say_aside)
    with patience.watching(what):
        yield patience
