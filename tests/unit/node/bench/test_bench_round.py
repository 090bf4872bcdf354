"""The benchmark of whole rounds: what it reckons of what processes tell, and one real process of a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.round import child
from node.bench.round import run as bench
from node.bench.round.run import Played

PHASES = {"sampling": 3.0, "scoring": 0.0, "exchange": 0.0, "update": 1.0}


def told(rounds: list[float], peaks: list[int | None], peak: float = 2e9) -> dict[str, object]:
    phases = [dict.fromkeys(PHASES, 0.0), *[PHASES] * (len(rounds) - 1)]
    return {
        "start": 9.0,
        "rounds": rounds,
        "phases": phases,
        "update_peaks": peaks,
        "save": 0.5,
        "peak": peak,
    }


def test_later_rounds_with_an_update_count_and_sides_are_held_against_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {
        "shared": told([90.0, 10.0, 2.0], [5, 7_000_000, None]),
        "unshared": told([90.0, 18.0, 22.0], [5, 9, 9], 6e9),
    }
    sides: list[str] = []

    def played(side: str, repeat: int, rounds: int, folder: Path, model: str) -> Played:
        sides.append(side)
        assert rounds == bench.ROUNDS and model == "m.gguf"
        return Played(side, repeat, found[side])

    monkeypatch.setattr(bench, "played", played)
    report = bench.run(BenchOptions(model="m.gguf", machine={"cpu": "a", "bf16_units": "none"}), print)
    assert sides == ["shared", "unshared", "unshared", "shared"]
    faster, resident = report.checks
    assert (faster.name, faster.ours, faster.floor) == ("smollm2_round", 2.0, 1.7)
    assert (resident.name, resident.ours, resident.holds) == ("smollm2_rss", 2.0, True)
    assert report.rows[0]["sampling_share"] == 0.75 and report.rows[0]["update_peak_mb"] == 7.0
    assert report.rows[0]["processor"] == "a, no bf16 units"


def test_a_process_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="prompts shared ended with 1"):
        bench.played("shared", 0, 2, tmp_path, "/nowhere/model.gguf")


def test_a_childs_rounds_are_those_of_a_silo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embedded model, whose policy the preset `tiny` has."""
    monkeypatch.setattr(child, "PRESET", "tiny")
    found = child.played("shared", 2, tmp_path / "run", ["sampler.local=2"])
    assert len(found["rounds"]) == 2 and min(found["rounds"]) > 0 and found["peak"] > 1e8
    assert all(phases["sampling"] > 0 for phases in found["phases"])
    assert list((tmp_path / "run" / "checkpoints").iterdir())
