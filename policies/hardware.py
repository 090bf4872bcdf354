"""The hardware to compute with, found without loading torch."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

ROCM = Path("/dev/kfd")  # where AMD's driver is spoken to


def has_gpu() -> bool:
    """Whether there is a GPU that some build of torch could use."""
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return apple or ROCM.exists() or _nvidia_gpus() > 0


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process may use every core
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_cores() -> int:
    """Cores that this process may use and that nothing kept busy in the last minute; 1 at least."""
    try:
        busy = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such figure, a sandbox may not tell it
        busy = 0.0
    return max(1, usable_cores() - int(busy))


def _nvidia_gpus() -> int:
    """As the driver counts them; 0 where there is no driver, or it does not start."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
