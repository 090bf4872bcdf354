"""A silo: no network at all, and a kill at any moment loses nothing that was saved."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from murmur_command import QUICK, murmur, start

from node.storage.events import History, RoundEvent

pytestmark = pytest.mark.e2e

ROUNDS = 12


def learnt(folder: Path) -> list[tuple[int, float, float | None, float | None, int]]:
    """What a run's training came to, without its times."""
    events = History(folder / "events.sqlite").rounds()
    return [(e.round, e.reward, e.loss, e.grad_norm, e.policy_version) for e in events]


def wait_for_round(folder: Path, number: int) -> RoundEvent:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rounds = History(folder / "events.sqlite").rounds()
        if rounds and rounds[-1].round >= number:
            return rounds[-1]
        time.sleep(0.05)
    raise AssertionError(f"round {number} was not reached")


def test_silo_trains_without_any_network(tmp_path: Path) -> None:
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    done = murmur("silo", "tiny", *QUICK, "--rounds", "3", "--run-dir", "silo", cwd=tmp_path, prefix=alone)
    assert done.returncode == 0, done.stderr
    rounds = History(tmp_path / "silo" / "events.sqlite").rounds()
    assert [event.round for event in rounds] == [1, 2, 3]
    assert all(event.published == event.received == event.trained_external == 0 for event in rounds)
    assert any(event.trained_local for event in rounds)


DEAF = """
class Deaf:
    def problem(self, seed):
        return f"{seed % 7} + 1 =", str(seed % 7 + 1)

    def score(self, problem, completion):
        raise RuntimeError("the service is down")
"""


def test_a_silo_whose_own_scorer_never_answers_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    tasks = 'tasks=[{ name = "code:deaf", code = "deaf.py:Deaf" }]'
    options = ("--set", tasks, "--set", "sampler.external=0", *QUICK)
    done = murmur("silo", "tiny", *options, "--rounds", "2", "--run-dir", "deaf", cwd=tmp_path)
    assert done.returncode == 2 and "finished 2 rounds" in done.stdout
    assert (
        "no rollout of the 2 rounds in deaf had a verdict" in done.stderr and "Traceback" not in done.stderr
    )
    assert "the service is down" in (tmp_path / "deaf" / "logs" / "node.log").read_text()


def test_embedded_policy_learns(tmp_path: Path) -> None:
    """0.19, 0.23 and 0.19 became 0.77, 0.73 and 0.72 with three seeds; a run that learns nothing moves by 0.1."""
    options = ["--set", "threads=1", "--set", "sampler.local=12", "--set", "sampler.external=0"]
    done = murmur("silo", "tiny", *options, "--rounds", "25", "--run-dir", "learns", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *_, last = History(tmp_path / "learns" / "events.sqlite").evaluations()
    assert last.reward - first.reward > 0.25


def test_killed_run_resumes_as_if_it_had_not_been(tmp_path: Path) -> None:
    options = ["tiny", *QUICK, "--rounds", str(ROUNDS), "--set", "checkpoint.every=2", "--set", "seed=1"]
    whole = murmur("silo", *options, "--run-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr

    process = start("silo", *options, "--run-dir", "killed", cwd=tmp_path)
    wait_for_round(tmp_path / "killed", 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = murmur("run", "--resume", "--run-dir", "killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after round" in resumed.stdout

    assert learnt(tmp_path / "killed") == learnt(tmp_path / "whole")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start("silo", "tiny", *QUICK, "--rounds", "10000", "--run-dir", "stopped", cwd=tmp_path)
    wait_for_round(tmp_path / "stopped", 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "murmur run --resume --run-dir stopped" in output
    last = History(tmp_path / "stopped" / "events.sqlite").rounds()[-1].round
    resumed = murmur("run", "--resume", "--run-dir", "stopped", "--rounds", str(last + 1), cwd=tmp_path)
    assert f"resumed after round {last}" in resumed.stdout
