"""What a process finds round it: launchers' variables, limits, and what libraries read as they are loaded."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from node import failures, process_environment

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_environment, "_ignored", [])
    monkeypatch.setattr(process_environment, "_set_for_libraries", [])


def test_what_a_launcher_of_several_processes_set_is_not_heeded_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert process_environment.environment_notices() == []
    for name in ("WORLD_SIZE", "RANK", "ACCELERATE_MIXED_PRECISION", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    process_environment.clear_launcher_variables()
    assert not {"WORLD_SIZE", "RANK", "ACCELERATE_MIXED_PRECISION", "OMPI_COMM_WORLD_SIZE"} & set(os.environ)
    [line] = process_environment.environment_notices()
    assert (
        "not heeded here ACCELERATE_MIXED_PRECISION=2, OMPI_COMM_WORLD_SIZE=2, RANK=2, WORLD_SIZE=2" in line
    )


def test_short_addresses_are_told_before_a_library_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2_000_000 * 1024, resource.RLIM_INFINITY))
    [line] = process_environment.environment_notices()
    assert "2.0 GB of addresses (ulimit -v 2000000)" in line and "ulimit -v unlimited" in line


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            "no memory",
        ),
        (RuntimeError("CUDA error: out of memory"), "no memory"),
        (RuntimeError("std::bad_alloc"), "no memory"),
    ],
)
def test_what_the_machine_lacks_is_its_users_to_mend_in_whatever_error_it_comes(
    raised: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        try:
            raise raised
        except RuntimeError as error:
            raise AssertionError("amid it") from error
    except AssertionError as error:
        assert failures.end_with(error) == 3
    said = capsys.readouterr().err
    assert words in said and "fault of murmur" not in said


def test_an_error_of_ours_that_came_after_another_is_still_ours(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise KeyError("round")
        except KeyError:
            raise AssertionError("never so")  # noqa: B904  the context is what is tried
    except AssertionError as error:
        assert failures.end_with(error) == 1
    assert "AssertionError: never so; this is a fault of murmur" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HF_HUB_ETAG_TIMEOUT", "soon", "HF_HUB_ETAG_TIMEOUT=soon"),
        ("TORCH_LOGS", "nonsense", "TORCH_LOGS=nonsense"),
    ],
)
def test_a_variable_that_a_library_cannot_read_is_named(
    variable: str, value: str, named: str, tmp_path: Path
) -> None:
    ended = started({variable: value}, "silo", "tiny", "--rounds", "1", "--run-dir", str(tmp_path / "run"))
    assert ended.returncode == 3
    assert f"unset what it may read here ({named})" in " ".join(ended.stderr.split())


def test_a_python_without_docstrings_is_refused_at_once() -> None:
    ended = started({"PYTHONOPTIMIZE": "2"}, "runs")
    assert ended.returncode == 3 and "unset PYTHONOPTIMIZE" in ended.stderr


def test_a_node_that_a_launcher_started_waits_for_nobody(tmp_path: Path) -> None:
    """accelerate would open a process group of two, and wait for the other one for ever."""
    told = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29555",
    }
    ended = started(told, "silo", "tiny", "--rounds", "1", "--run-dir", str(tmp_path / "run"))
    assert ended.returncode == 0, ended.stderr
    assert "trains in one process" in ended.stdout + ended.stderr


def started(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "node", *arguments],
        env=os.environ | variables | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
