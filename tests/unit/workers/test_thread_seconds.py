"""What counts as a thread's work."""

from __future__ import annotations

import gc
import threading
import time

from policies.workers.thread_seconds import charge, thread_seconds


def test_a_collection_of_what_all_threads_made_is_nobodys_work() -> None:
    """One that met an honest peer's group while it was read took 0.2 s, ten times what a body may waste."""
    made_by_all: list[list[int]] = [[] for _ in range(200_000)]
    counted, worked = thread_seconds(), time.thread_time()
    for _ in range(5):
        gc.collect()
    counted, worked = thread_seconds() - counted, time.thread_time() - worked
    assert made_by_all and counted < worked / 2


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
