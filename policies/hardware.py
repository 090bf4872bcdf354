"""The hardware to compute with, found without loading torch."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import psutil

from policies.container_limits import cores_granted, memory_left

ROCM = Path("/dev/kfd")  # where AMD's driver is spoken to


def has_gpu() -> bool:
    """Whether there is a GPU that some build of torch could use."""
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return apple or ROCM.exists() or _nvidia_gpus() > 0


def usable_cores() -> int:
    """Processor cores that this process may use, by its affinity and by its container's share of their time."""
    granted = cores_granted()
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return there if granted is None else max(1, min(there, round(granted)))


def free_cores() -> int:
    """Cores that this process may use and that nothing kept busy in the last minute; 1 at least."""
    if cores_granted() is not None:
        return usable_cores()  # a container's own, and the load is the whole machine's
    try:
        busy = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no such figure, a sandbox may not tell it
        busy = 0.0
    return max(1, usable_cores() - int(busy))


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, its container and its own limit (`ulimit -v`)."""
    lefts = (psutil.virtual_memory().available, memory_left(), _addresses_left())
    return min(left for left in lefts if left is not None)


def address_limit() -> int | None:
    """Bytes of addresses that this process may take (`ulimit -v`); None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _addresses_left() -> int | None:
    limit = address_limit()
    return None if limit is None else max(0, limit - int(psutil.Process().memory_info().vms))


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
