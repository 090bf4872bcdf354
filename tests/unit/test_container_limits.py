"""What control groups leave a process, read from trees as both of their versions lay them out."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from policies import container_limits, hardware
from policies.container_limits import cores_granted, memory_left

GB = 10**9


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(container_limits, "MOUNT", tmp_path / "cgroup")
    monkeypatch.setattr(container_limits, "OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(groups: Path, own: str, files: dict[str, str]) -> None:
    (groups / "own").write_text(own)
    for name, content in files.items():
        path = groups / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def test_a_machine_without_groups_limits_nothing(groups: Path) -> None:
    assert memory_left() is None and cores_granted() is None
    assert hardware.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_version_two_counts_the_tightest_group_and_not_what_the_kernel_keeps_of_files(groups: Path) -> None:
    write(
        groups,
        "0::/service/node\n",
        {
            "service/memory.max": str(8 * GB),
            "service/memory.current": str(7 * GB),
            "service/memory.stat": f"anon {3 * GB}\ninactive_file {2 * GB}",
            "service/node/memory.max": "max",
            "service/node/memory.current": str(1 * GB),
            "service/cpu.max": "max 100000",
            "service/node/cpu.max": "150000 100000",
        },
    )
    assert memory_left() == 3 * GB
    assert cores_granted() == 1.5


def test_version_one_has_a_tree_for_each_controller(groups: Path) -> None:
    write(
        groups,
        "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n",
        {
            "memory/docker/abc/memory.limit_in_bytes": str(4 * GB),
            "memory/docker/abc/memory.usage_in_bytes": str(1 * GB),
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/memory.usage_in_bytes": str(20 * GB),
            "cpu/docker/abc/cpu.cfs_quota_us": "200000",
            "cpu/docker/abc/cpu.cfs_period_us": "100000",
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_left() == 3 * GB
    assert cores_granted() == 2.0


def test_a_container_that_sees_its_own_group_at_the_root_is_limited_by_it(groups: Path) -> None:
    """`docker run`: the path is the host's, and what is mounted is the container's own group."""
    write(
        groups, "0::/system.slice/docker-abc.scope\n", {"memory.max": str(GB), "memory.current": str(GB // 2)}
    )
    assert memory_left() == GB // 2


def test_threads_and_memory_of_a_node_go_by_what_its_container_grants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(hardware.os, "getloadavg", lambda: (40.0, 40.0, 40.0))
    monkeypatch.setattr(hardware, "cores_granted", lambda: None)
    assert (hardware.usable_cores(), hardware.free_cores()) == (64, 24)
    monkeypatch.setattr(hardware, "cores_granted", lambda: 2.0)
    assert (hardware.usable_cores(), hardware.free_cores()) == (2, 2)
    monkeypatch.setattr(hardware, "cores_granted", lambda: 0.5)
    assert hardware.usable_cores() == 1
    monkeypatch.setattr(hardware, "memory_left", lambda: 3 * GB // 1000)
    assert hardware.free_memory() == 3 * GB // 1000
