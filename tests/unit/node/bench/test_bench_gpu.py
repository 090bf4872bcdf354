"""`murmur bench gpu` without a GPU: parts run on the CPU, resume, and become one file; no daemon's library is met."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from node.bench.gpu import run as gpu
from node.bench.kit.options import BenchError, BenchOptions

ROUND = "round-tiny"


def options(folder: Path, *cases: str, device: str = "cpu") -> BenchOptions:
    return BenchOptions(cases=cases, folder=folder, device=device)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / gpu.RESULT).read_text())
    return found


def without_daemons(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever imports hivemind or libp2p in a part fails, as on a machine that has neither."""
    folder.mkdir()
    for name in ("hivemind", "libp2p"):
        (folder / f"{name}.py").write_text("raise ImportError('it is not here')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def test_a_part_runs_is_kept_and_stands_in_the_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_daemons(tmp_path / "none", monkeypatch)
    report = gpu.run(options(tmp_path / "proof", ROUND), lambda _: None)
    assert [row["fault"] for row in report.rows] == [None] and report.checks[0].holds
    found = read(tmp_path / "proof")
    rounds = found["parts"][ROUND]["rounds"]
    assert [one["update"]["tokens"] for one in rounds] == [32, 32] and not found["complete"]
    assert rounds[0]["update"]["agreement"]["largest"] < 1e-4 and found["parts"][ROUND]["plan"]["peak"] > 0
    assert {"torch", "trl", "python", "other_versions", "cpu"} <= found["machine"].keys()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished part is run again")

    monkeypatch.setattr(subprocess, "run", never)
    gpu.run(options(tmp_path / "proof", ROUND), lambda _: None)
    assert read(tmp_path / "proof")["parts"] == found["parts"]


def test_a_part_that_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [
        subprocess.CompletedProcess((), 1, stderr="Traceback\nRuntimeError: CUDA error"),
        subprocess.CompletedProcess((), 0, stdout='noise\n{"passed": 3}\n'),
        subprocess.CompletedProcess((), 0, stdout='{"rows": []}\n'),
    ]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended.pop(0))
    report = gpu.run(options(tmp_path, "tests", "step-tiny"), lambda _: None)
    assert [row["fault"] for row in report.rows] == ["RuntimeError: CUDA error", None]
    assert not report.checks[0].holds and "fault" in read(tmp_path)["parts"]["tests"]
    report = gpu.run(options(tmp_path, "tests", "step-tiny"), lambda _: None)
    assert report.checks[0].holds and read(tmp_path)["parts"]["step-tiny"]["passed"] == 3


def test_a_part_that_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PART_SECONDS", 0.01)
    report = gpu.run(options(tmp_path, "engine-tiny"), lambda _: None)
    assert report.rows[0]["fault"] == "it took over 0.01 s"


def test_without_a_gpu_it_is_refused_and_names_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match="--device cpu tries the way"):
        gpu.run(options(tmp_path, device="cuda"), lambda _: None)
    with pytest.raises(BenchError, match=r"no case 'round-1\.5B'"):
        gpu.run(options(tmp_path, "round-1.5B"), lambda _: None)


def test_parts_and_versions_are_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _ in gpu.parts_of("cuda")]
    assert names[0] == "tests" and len(names) == 10 and "engine-1.5B" in names
    assert gpu.PART_SECONDS < 480
    monkeypatch.setattr(gpu, "requires", lambda _: ["torch<2.12,>=2.11", "numpy>=1"])
    assert gpu.versions()["other_versions"].startswith(f"torch {torch.__version__}, asked for ")


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_daemons(tmp_path / "none", monkeypatch)
    report = gpu.run(options(tmp_path / "proof"), lambda _: None)
    found = read(tmp_path / "proof")
    assert report.checks[0].holds and found["complete"]
    assert found["parts"]["tests"]["collected"] > 0 and found["parts"]["step-tiny"]["rows"]
