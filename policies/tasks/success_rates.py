"""Success rates: how well a node does of late at each task and each row of its own data, for an adaptive draw.

A group teaches where its rewards differ, and they do where the policy is neither always right nor always wrong. So
tasks and rows at which the own rate lies between LOW and HIGH are drawn more often than others. Several difficulties
of one reasoning-gym dataset are several tasks: what is drawn climbs from one to the next as the policy learns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.rollout import Group
from policies.tasks.task import RowTask, Task

LOW, HIGH = 0.1, 0.9
ASIDE = 0.2  # how often others are drawn, relative to those: rates of what is never drawn never change
TASK_MEMORY, ROW_MEMORY = 8, 2  # groups that a moving mean reaches back over
MAX_ROWS = 100_000  # whose rates are kept; the longest unseen give way


@dataclass(slots=True)
class SuccessRates:
    """Moving means of rewards, by task and by row; what was never met counts as worth a draw."""

    tasks: dict[str, float] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)  # by `TASK ROW`, longest unseen first

    def note(self, groups: Iterable[Group], tasks: Mapping[str, Task]) -> None:
        """Own scored groups of a round."""
        for group in groups:
            task, reward = tasks[group.problem.task], group.mean_reward
            _move(self.tasks, task.name, reward, TASK_MEMORY)
            if isinstance(task, RowTask):
                _move(self.rows, _row(task, group.problem.seed), reward, ROW_MEMORY)
        for key in list(self.rows)[: max(0, len(self.rows) - MAX_ROWS)]:
            del self.rows[key]

    def of_task(self, task: Task) -> float:
        """How often the task is drawn, relative to its weight: 1, or ASIDE."""
        return _worth(self.tasks.get(task.name))

    def of_seed(self, task: Task, seed: int) -> float:
        """The same of a seed's row; 1 of a task without rows."""
        return _worth(self.rows.get(_row(task, seed))) if isinstance(task, RowTask) else 1.0

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint."""
        return {"tasks": self.tasks, "rows": self.rows}

    def restore(self, data: Mapping[str, Any] | None) -> None:
        """Takes back what `snapshot` gave, straight or through JSON; nothing of a run of before."""
        self.tasks, self.rows = (dict((data or {}).get(kind, {})) for kind in ("tasks", "rows"))


def _row(task: RowTask, seed: int) -> str:
    return f"{task.name} {task.row(seed)}"


def _worth(rate: float | None) -> float:
    return 1.0 if rate is None or LOW <= rate <= HIGH else ASIDE


def _move(rates: dict[str, float], key: str, reward: float, memory: int) -> None:
    before = rates.pop(key, reward)  # out and in again: a dict keeps the order of insertion
    rates[key] = before + (reward - before) / memory
