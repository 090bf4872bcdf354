"""Limits that a container or a service manager sets a process: control groups of Linux, of both versions.

`docker run --memory 4g --cpus 2` shows a process the whole machine, and ends it when it takes more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from policies.plain_files import read_text

MOUNT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
_UNLIMITED = 2**60  # version 1 says "no limit" by a number of about 2^63


def memory_left() -> int | None:
    """Bytes until the tightest limit; None without one."""
    lefts = [
        limit - used
        for group, limited, usage in (
            *((group, "memory.max", "memory.current") for group in _groups("")),
            *((group, "memory.limit_in_bytes", "memory.usage_in_bytes") for group in _groups("memory")),
        )
        if (limit := _number(group / limited)) is not None
        and limit < _UNLIMITED
        and (used := _used(group, usage)) is not None
    ]
    return max(0, min(lefts)) if lefts else None


def cores_granted() -> float | None:
    """Cores' worth of time that the tightest quota grants; None without one."""
    shares = [*_version_two_quotas(), *_version_one_quotas()]
    return min(shares) if shares else None


def _version_two_quotas() -> Iterator[float]:
    for group in _groups(""):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _version_one_quotas() -> Iterator[float]:
    for group in _groups("cpu"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota and period:
            yield quota / period


def _used(group: Path, usage: str) -> int | None:
    """Bytes that stay used: files that the kernel keeps for later go as soon as memory is wanted."""
    used = _number(group / usage)
    if used is None:
        return None
    counts = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    cached = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return used - (int(cached) if cached.isdecimal() else 0)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's group and of those round it; version 2 has one tree for all controllers.

    Inside a container the path may be the host's, which is not mounted there: the mount's own root is the group then.
    """
    for line in _text(OWN_GROUPS).splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if controller not in names.split(","):
            continue
        root = MOUNT / controller
        group = root / path.strip("/")
        if not group.is_dir():
            group = root
        while group != root:
            yield group
            group = group.parent
        yield root


def _number(file: Path) -> int | None:
    """None for a file that is not there, or says `max` or -1."""
    said = _text(file)
    return int(said) if said.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return read_text(file).strip()
    except (OSError, ValueError):
        return ""
