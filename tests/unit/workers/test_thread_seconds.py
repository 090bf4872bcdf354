"""What counts as a thread's work."""

from __future__ import annotations

import gc
import threading
from contextlib import suppress

from policies.workers.thread_seconds import charge, collections_held_back, thread_seconds


def test_collections_wait_until_the_work_is_done_and_stay_off_where_they_were() -> None:
    def enabled(*, before: bool) -> list[bool]:
        gc.enable() if before else gc.disable()
        try:
            with suppress(KeyError), collections_held_back():
                inside = gc.isenabled()
                raise KeyError
            return [inside, gc.isenabled()]
        finally:
            gc.enable()

    assert enabled(before=True) == [False, True]
    assert enabled(before=False) == [False, False]


def test_a_helpers_work_counts_for_the_thread_that_asked_for_it() -> None:
    def ask() -> None:
        before = thread_seconds()
        charge(7.0)
        counted.append(thread_seconds() - before)

    counted: list[float] = []
    before = thread_seconds()
    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    assert 7.0 <= counted[0] < 8.0 and thread_seconds() - before < 7.0
