"""Every strategy preset runs as it is shipped, but for its length; APRIL's partials survive a kill."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from murmur_command import QUICK, murmur, start
from test_silo import learnt, wait_for_round

from node.config.reading import PRESETS
from node.storage.events import History

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("preset", ["brorl", "dars", "april"])
def test_a_strategy_preset_runs_and_records_how_hard_its_problems_were(tmp_path: Path, preset: str) -> None:
    assert len((PRESETS[-1] / f"{preset}.toml").read_text().splitlines()) < 30
    quick = ["--set", "threads=1", "--set", "evaluation.problems=2"]
    done = murmur("run", preset, *quick, "--rounds", "2", "--run-dir", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hard" in done.stdout
    history = History(tmp_path / "here" / "events.sqlite")
    rounds, problems = history.rounds(), history.problems()
    assert [event.round for event in rounds] == [1, 2]
    for event in rounds:
        decided = [problem for problem in problems if problem.round == event.round]
        kept = [problem for problem in decided if problem.dropped is None]
        assert len(kept) == event.trained_local
        assert sum(event.dropped.values()) == len(decided) - len(kept)
        assert event.hard == sum(2 * problem.correct < problem.rollouts for problem in decided)
        assert all(problem.sampled >= problem.rollouts for problem in decided)
    if preset != "brorl":  # the hard ones got more, and only they did
        assert {p.sampled > p.rollouts for p in problems if 2 * p.correct < p.rollouts} == {True}
        assert {p.sampled > p.rollouts for p in problems if 2 * p.correct >= p.rollouts} <= {False}


def test_partials_that_a_kill_leaves_are_carried_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    small = ["--set", "strategy.inner.rollouts=8", "--set", "strategy.inner.max_rollouts=24"]
    options = ["april", *QUICK, *small, "--rounds", "6", "--set", "checkpoint.every=1", "--set", "seed=1"]
    whole = murmur("silo", *options, "--run-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert any(event.carried for event in History(tmp_path / "whole" / "events.sqlite").rounds())

    process = start("silo", *options, "--run-dir", "killed", cwd=tmp_path)
    try:
        wait_for_round(tmp_path / "killed", 3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed = murmur("silo", "--resume", "--run-dir", "killed", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert learnt(tmp_path / "killed") == learnt(tmp_path / "whole")


EMBEDDED = 'policy={type="embedded",generation={max_new_tokens=8},warm_start={steps=10,size="small",skills={sort=0.5}}}'


@pytest.mark.parametrize(("preset", "task"), [("gsm8k", "data:gsm8k-small"), ("choice", "data:four-choices")])
def test_a_preset_of_own_questions_runs_on_the_rows_that_it_ships(
    tmp_path: Path, preset: str, task: str
) -> None:
    """On the embedded policy, which answers none of them: what is tried is the way from rows to rounds and back."""
    small = ["--set", EMBEDDED, "--set", "sampler.local=1", "--set", "strategy.rollouts=2"]
    quick = ["--set", "threads=1", "--set", "evaluation.problems=1", "--set", "seed=1"]
    done = murmur("silo", preset, *small, *quick, "--rounds", "1", "--run-dir", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    history = History(tmp_path / "here" / "events.sqlite")
    [problem] = history.problems()
    assert problem.task.partition("@")[0] == task and problem.seed < 2**31
    resumed = murmur("silo", "--resume", "--rounds", "2", "--run-dir", "here", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert len(history.rounds()) == 2
