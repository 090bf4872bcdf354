"""`murmur replay` of a run whose own verifier gives no verdict by now: told in words, the round's other groups too."""

from __future__ import annotations

import pytest

from node.config.reading import load_config
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import KeptRollout
from node.ui.inspect import round_replay
from node.ui.inspect.errors import InspectError
from node.ui.inspect.replay import replay
from policies.rollout import Finish, Problem
from policies.tasks import build_task
from policies.tasks.task import Task, TaskSpec
from policies.unjudged import tell_unjudged


class Silent:
    """A task whose verifier raises, hangs or gives no number by now: each is no verdict."""

    name = "code:own"

    def problem(self, seed: int) -> Problem:
        return Problem(self.name, seed, "1 + 1 =", "2")

    def score(self, problem: Problem, completion: str) -> float | None:
        tell_unjudged("units", completion, "it raised KeyError")
        return None


ADD = build_task(TaskSpec("add"))


def kept(number: int, task: Task) -> KeptRollout:
    problem = task.problem(7)
    text = problem.answer
    return KeptRollout(
        *(number, number, 1, task.name, 7, None, 1.0, None, None, Finish.STOP, 1, len(text)),
        *(text, problem.prompt, problem.answer, None),
    )


def test_a_rollout_without_a_verdict_is_told_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tasks: dict[str, Task] = {Silent.name: Silent(), ADD.name: ADD}
    with pytest.raises(
        InspectError,
        match="rollout 1 cannot be scored again: no verdict of units, on '2': it raised KeyError",
    ):
        replay(tasks[Silent.name], kept(1, tasks[Silent.name]), None)
    monkeypatch.setattr(round_replay, "task_of", lambda config, name: tasks[name])
    monkeypatch.setattr(RolloutHistory, "image", lambda self, number: None)
    history = RolloutHistory(tmp_path_factory.mktemp("run") / "events.sqlite")
    rollouts = [kept(1, tasks[Silent.name]), kept(2, ADD)]
    silent, right = round_replay.replay_groups(load_config("tiny"), history, rollouts, {})
    assert "it raised KeyError" in silent.trouble and not silent.again
    assert [each.now for each in right.again] == [1.0] and right.agrees
