"""Peak memory of a piece of work, seen from outside of it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil
import torch

SAMPLE_SECONDS = 0.01  # a tensor that lives shorter is missed


class PeakMemory:
    """Inside a `with`, follows what is in use; `peak` is the most above the start, in bytes.

    CUDA keeps count itself. On a CPU a thread reads the process's resident size; freed memory that the allocator
    keeps counts as used.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._start = 0
        self.peak = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start = torch.cuda.memory_allocated(self._device)
        else:
            self._start = self._process.memory_info().rss
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self._device) - self._start
        else:
            self._done.set()
            self._watcher.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._process.memory_info().rss - self._start)
            if self._done.wait(SAMPLE_SECONDS):
                return
