"""Report of an evaluation: pass@k and reward by task and over all, and the difference on the same problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node.evaluation.answers import Answers, right
from node.evaluation.statistics import INTERVALS, Estimate, estimate, pass_at_k
from node.export.markdown import markdown_table
from policies.rollout import Group

ALL = "all"
Values = Mapping[str, Sequence[float]]  # one value a problem, by task


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of one task, or of all."""

    task: str
    metric: str  # pass@k, or reward
    problems: int
    model: Estimate
    base: Estimate | None  # on the same problems
    difference: Estimate | None  # model less base, problem by problem


@dataclass(frozen=True, slots=True)
class Report:
    model: str
    base: str | None
    rollouts: int
    lines: tuple[Line, ...]
    complete: bool

    def plain(self) -> dict[str, Any]:
        """All of it as plain values, with the Markdown that a model card shows."""
        return asdict(self) | {"intervals": INTERVALS, "markdown": self.markdown()}

    @property
    def problems(self) -> int:
        """Of all tasks together."""
        return max((line.problems for line in self.lines), default=0)

    def head(self) -> list[str]:
        named = [self.model] if self.base is None else [self.base, self.model, "difference"]
        return ["task", "problems", "metric", *named]

    def rows(self) -> list[list[str]]:
        return [[line.task, str(line.problems), line.metric, *_cells(line)] for line in self.lines]

    def in_words(self) -> str:
        """What the intervals of the differences say, to follow a sentence; empty where nothing is compared."""
        clear = {line.difference.excludes_zero for line in self.lines if line.difference is not None}
        nothing = (
            "includes 0: nothing is shown by so few answers, and murmur eval --problems N asks for more."
        )
        starred = "  *: the interval of the difference excludes 0" if True in clear else ""
        if False not in clear:
            return f"{starred}." if starred else ""
        return (
            f"{starred}; without *, it {nothing}"
            if starred
            else f"  The interval of the difference {nothing}"
        )

    def markdown(self) -> str:
        notes = (
            f"{self.rollouts} answers to each problem, none of them trained on. {INTERVALS}.{self.in_words()}"
        )
        return f"{markdown_table(self.head(), self.rows())}\n\n{notes}"


def report_of(
    labels: tuple[str, str | None], model: Answers, base: Answers | None, rollouts: int, ks: Sequence[int]
) -> Report:
    """Compares on the problems that both have answered; without a base, on all that the model has."""
    shared = model.groups.keys() & (base.groups.keys() if base else model.groups.keys())
    seeds = sorted(shared)
    tasks = list(dict.fromkeys(task for task, _ in seeds))
    metrics: dict[str, Callable[[Group], float]] = {f"pass@{k}": _passing(k) for k in ks}
    metrics["reward"] = lambda group: group.mean_reward
    lines = []
    for scope in [*(([task]) for task in tasks), *([tasks] if len(tasks) > 1 else [])]:
        for metric, measured in metrics.items():
            ours, theirs = (
                {task: [measured(answers.groups[key]) for key in seeds if key[0] == task] for task in scope}
                if answers
                else None
                for answers in (model, base)
            )
            assert ours is not None
            name = scope[0] if len(scope) == 1 else ALL
            lines.append(_line(name, metric, ours, theirs))
    complete = model.complete and (base is None or base.complete)
    return Report(labels[0], labels[1], rollouts, tuple(lines), complete)


def _passing(k: int) -> Callable[[Group], float]:
    return lambda group: pass_at_k(len(group.rollouts), right(group), k)


def _line(task: str, metric: str, ours: Values, theirs: Values | None) -> Line:
    problems = sum(map(len, ours.values()))
    if theirs is None:
        return Line(task, metric, problems, estimate(ours), None, None)
    apart = {name: [a - b for a, b in zip(ours[name], theirs[name], strict=True)] for name in ours}
    return Line(task, metric, problems, estimate(ours), estimate(theirs), estimate(apart, (-1.0, 1.0)))


def _cells(line: Line) -> list[str]:
    if line.base is None or line.difference is None:
        return [_shown(line.model)]
    mark = " *" if line.difference.excludes_zero else ""
    return [_shown(line.base), _shown(line.model), _shown(line.difference, "+") + mark]


def _shown(found: Estimate, sign: str = "") -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
