"""The denoising steps of one roll-out, noisy or deterministic, from settings and the number of updates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from policies.diffusion.denoiser import Schedule
from policies.diffusion.settings import Kind, TreeSettings
from policies.diffusion.step import Step
from policies.diffusion.window import window_at


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Step i goes from point `points[i]` of the schedule to `points[i + 1]`; T is the last point."""

    points: tuple[int, ...]
    steps: tuple[Step, ...]
    split_scale: float = 4.0


def step_plan(settings: TreeSettings, schedule: Schedule, updates: int) -> StepPlan:
    """The roll-out of a policy that has made `updates` updates.

    Noisy are the splits and, unless that is all steps, a window. The last step never is: noise in it would only be
    seen, not corrected. After the last noisy step, `settings.tail` longer deterministic steps may lead to the end.
    """
    total = schedule.steps
    noisy = set(range(total)) if settings.noisy is None else set(window_at(settings.noisy, updates, total))
    noisy = (noisy | set(settings.splits)) - {total - 1} if settings.eta > 0 else set()
    points = _points(total, max(noisy, default=-1) + 1, settings.tail)
    steps = tuple(
        Step.between(schedule, start, end, settings.kind, settings.eta if start in noisy else 0.0)
        for start, end in pairwise(points)
    )
    return StepPlan(points, steps, settings.split_scale)


def ode_plan(schedule: Schedule) -> StepPlan:
    """The ODE at every point of the schedule, as evaluation samples."""
    points = tuple(range(schedule.steps + 1))
    return StepPlan(points, tuple(Step.between(schedule, *pair, Kind.CPS, 0.0) for pair in pairwise(points)))


def _points(total: int, tail_from: int, tail: int) -> tuple[int, ...]:
    """Every point up to `tail_from`, and from there `tail` steps spread evenly to the end; 0: every point."""
    rest = total - tail_from
    count = min(tail, rest) if tail else rest
    return (*range(tail_from), *(tail_from + round(place * rest / count) for place in range(count + 1)))
