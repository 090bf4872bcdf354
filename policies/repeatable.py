"""Training that gives the same weights again, bit for bit, on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """The order of a threaded sum depends on the number of threads, and with it the last bits of the weights."""
    import torch  # tasks are named by processes that never train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
