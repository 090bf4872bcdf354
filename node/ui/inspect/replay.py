"""`murmur replay`: a kept rollout scored once more by its task's verifier, and whether the reward is the same."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from node.config.schema import Config
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import MAX_CHARACTERS, KeptRollout
from node.storage.run_folder import RunFolder
from node.ui.inspect.errors import InspectError
from node.ui.inspect.rollout_page import find_rollout
from node.ui.run_view import new_console
from node.ui.terminal.window import say_lines
from policies.rollout import Group, Image, Rollout
from policies.tasks import build_task
from policies.tasks.image_reward import ImageRewardTask
from policies.tasks.task import Task, score_group
from policies.unjudged import reasons_heard
from swarm.visible_text import one_line, plain_json

TOLERANCE = 1e-6  # scorers of images round


@dataclass(frozen=True, slots=True)
class Replayed:
    """The reward that is kept, and the one of now."""

    id: int
    task: str
    seed: int
    kept: float
    now: float
    agrees: bool
    same_prompt: bool  # the task still gives the problem that was answered


def show_replay(folder: RunFolder, number: int, *, as_json: bool) -> bool:
    """Prints whether the kept reward is what the verifier gives, and returns it.

    Raises InspectError, StoreError, ConfigError, TaskError.
    """
    history = RolloutHistory(folder.events)
    rollout = find_rollout(history, folder, number)
    replayed = replay(task_of(folder.read_config(), rollout.task), rollout, history.image(number))
    if as_json:
        new_console().out(plain_json(asdict(replayed)), highlight=False)
        return replayed.agrees
    verdict = "the rewards agree" if replayed.agrees else "the rewards DIFFER"
    where = f"rollout {number}, {one_line(replayed.task)}, seed {replayed.seed}"
    say_lines(f"{where}: kept {replayed.kept:.6g}, now {replayed.now:.6g}: {verdict}")
    if not replayed.same_prompt:
        say_lines("The task gives another problem for this seed than it did: its package may have changed.")
    return replayed.agrees


def replay(task: Task, rollout: KeptRollout, image: Image | None) -> Replayed:
    """Raises InspectError where the rollout is not kept whole, or its verifier gives no verdict."""
    if rollout.cut:
        raise InspectError(
            f"rollout {rollout.id} cannot be scored again: the store keeps {len(rollout.text):,} of its "
            f"{rollout.characters:,} characters"
        )
    problem = task.problem(rollout.seed)
    written = Rollout(rollout.text, (), rollout.finish, image=image)
    with reasons_heard() as heard:
        (scored,) = score_group(task, Group(problem, (written,))).rollouts
    if (now := scored.reward) is None:
        raise InspectError(
            f"rollout {rollout.id} cannot be scored again: no verdict of {'; '.join(heard) or one_line(rollout.task)}; "
            "murmur tasks check shows what else it does"
        )
    same = math.isclose(now, rollout.reward, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    same_prompt = problem.prompt[:MAX_CHARACTERS] == rollout.prompt
    return Replayed(rollout.id, rollout.task, rollout.seed, rollout.reward, now, same, same_prompt)


def task_of(config: Config, name: str) -> Task:
    """The task of this full name, ready to score. Raises InspectError where it is not one of the run's."""
    family = name.partition("@")[0]
    candidates = [build_task(task.spec) for task in config.tasks if task.name == family]
    task = next((task for task in candidates if task.name == name), None)
    if task is None:
        raise InspectError(
            f"{one_line(name)} cannot be scored again: this version of murmur has no such task with the parameters "
            "of the run's config"
        )
    if isinstance(task, ImageRewardTask):
        task.load()
    return task
