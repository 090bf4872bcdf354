"""Tasks judged by reward models: prompts that every node rebuilds alike, and rewards for any image a peer may send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from node.failures import exit_code
from policies.image_rewards.reward_models import REWARD_MODELS
from policies.rollout import Image
from policies.tasks import TaskError, TaskSpec, asks_for_images, build_task
from policies.tasks.image_reward import ImageRewardTask
from policies.tasks.task import HELD_OUT_SEED, ImageTask


class Brightness:
    """Stands in for a reward model: the mean of an image, plus the prompt's length."""

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        assert images.shape[1] == 3 and len(images) == len(prompts) == 1
        return images.mean((1, 2, 3)) + len(prompts[0])


def judged(reward: object) -> ImageRewardTask:
    task = ImageRewardTask("pickscore", ["a fox", "a hen"])
    task._scorer = reward  # type: ignore[assignment]
    return task


def grey(width: int, height: int, channels: int, value: int = 51) -> Image:
    return Image(width, height, channels, bytes([value]) * (width * height * channels))


@pytest.mark.parametrize("name", REWARD_MODELS)
def test_every_model_is_a_task_by_name_without_loading_it(name: str) -> None:
    task = build_task(TaskSpec(name))
    assert isinstance(task, ImageTask) and asks_for_images(TaskSpec(name))
    assert task.name == f"{name}@2"


def test_problems_are_the_seeds_and_evaluation_has_its_own_prompts() -> None:
    one, other = build_task(TaskSpec("pickscore")), build_task(TaskSpec("pickscore"))
    trained = {one.problem(seed).prompt for seed in range(3000)}
    held_out = {one.problem(HELD_OUT_SEED + seed).prompt for seed in range(1000)}
    assert [one.problem(seed) for seed in range(50)] == [other.problem(seed) for seed in range(50)]
    assert len(trained) > 1000 and len(held_out) > 150
    assert not trained & held_out


def test_own_prompts_come_from_a_file_and_name_the_task(tmp_path: Path) -> None:
    file, same, more = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    file.write_text("a fox\n\n a hen \na fox\n")
    same.write_text("a fox\na hen\n")
    more.write_text("a fox\na hen\na cow\n")
    tasks = [build_task(TaskSpec("hpsv2", {"prompts": str(path)})) for path in (file, same, more)]
    assert tasks[0].name == tasks[1].name != tasks[2].name
    assert tasks[0].name.startswith("hpsv2@2#")
    asked = {tasks[0].problem(seed).prompt for seed in (*range(20), HELD_OUT_SEED)}
    assert asked == {"a fox", "a hen"}


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"model": "x"}, "takes prompts and weights, but was given model"),
        ({"prompts": "nowhere.txt"}, "cannot read prompts from nowhere.txt"),
        ({"prompts": "/dev/zero"}, "/dev/zero: it is not a plain file"),
        ({"prompts": "/"}, "it is not a plain file"),
    ],
)
def test_what_it_cannot_be_built_from(params: dict[str, str], why: str) -> None:
    with pytest.raises(TaskError, match=why):
        build_task(TaskSpec("pickscore", params))


def test_a_file_with_one_prompt_is_too_few(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a fox\n")
    with pytest.raises(TaskError, match="has 1 prompts"):
        build_task(TaskSpec("pickscore", {"prompts": str(tmp_path / "one.txt")}))


def test_images_of_any_form_are_scored_as_colours_in_the_unit_interval() -> None:
    task = judged(Brightness())
    problem = task.problem(0)
    found = task.score_images(problem, [grey(4, 3, 1), grey(3, 5, 3), grey(2, 2, 3, 255)])
    assert found == pytest.approx([5.2, 5.2, 6.0])  # both prompts have five letters
    assert task.score_images(problem, []) == []


def test_what_would_blow_up_or_is_no_number_gets_nothing() -> None:
    class Broken:
        def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
            return torch.tensor([float("nan")])

    assert judged(Brightness()).score_images(judged(None).problem(0), [grey(1, 1024, 3), grey(9, 2, 1)]) == [
        0,
        0,
    ]
    assert judged(Broken()).score_images(judged(None).problem(0), [grey(2, 2, 3)]) == [0]


def test_missing_weights_are_told_by_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TaskError, match="hf download yuvalkirstain/PickScore_v1") as raised:
        ImageRewardTask("pickscore").load()
    assert exit_code(raised.value) == 3
