"""The digits task: problems from seeds, rewards that any receiver computes alike, a judge of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.rollout import Finish, Group, Image, Rollout
from policies.tasks import TaskError, TaskSpec, build_task, digit_scorers
from policies.tasks.digit_images import digit_images
from policies.tasks.digit_scorers import judge, reward_classifier
from policies.tasks.digits import PROMPTS, Digits, pixels_of
from policies.tasks.task import HELD_OUT_SEED, ImageTask, score_group


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(reward_classifier(tmp_path_factory.mktemp("cache")))


def image_of(pixels: np.ndarray, size: int = 8) -> Image:
    """An image of 64 values in [-1, 1], each pixel repeated up to `size`."""
    grey = np.rint((pixels.reshape(8, 8) + 1) * 127.5).astype(np.uint8)
    grey = grey.repeat(size // 8, 0).repeat(size // 8, 1)
    return Image(size, size, 1, grey.tobytes())


def test_a_problem_names_its_digit(task: Digits) -> None:
    assert isinstance(task, ImageTask)
    problem = task.problem(127)
    assert (problem.task, problem.prompt, problem.answer) == ("digits@1", "the digit 7", "7")
    held_out = [task.problem(HELD_OUT_SEED + number).prompt for number in range(20)]
    assert sorted(held_out) == sorted(2 * PROMPTS)


def test_real_digits_of_the_other_half_get_high_rewards_for_what_they_show_alone(task: Digits) -> None:
    unseen = digit_images().halves()[1]
    images = [image_of(pixels) for pixels in unseen.pixels[:300]]
    right = [
        task.score_images(task.problem(int(d)), [i])[0] for d, i in zip(unseen.digits, images, strict=False)
    ]
    wrong = [
        task.score_images(task.problem(int(d) + 1), [i])[0]
        for d, i in zip(unseen.digits, images, strict=False)
    ]
    assert np.mean(right) > 0.95
    assert np.mean(wrong) < 0.5


def test_the_judge_knows_digits_that_it_has_not_seen() -> None:
    unseen = digit_images().halves()[0]
    assert (judge()(unseen.pixels) == unseen.digits).mean() > 0.95


def test_the_classifier_is_the_same_wherever_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digit_scorers, "STEPS", 40)
    first, second = (reward_classifier(tmp_path / name) for name in ("a", "b"))
    assert np.array_equal(first.hidden, second.hidden) and np.array_equal(first.output, second.output)


def test_the_reward_is_the_log_probability_on_a_line(task: Digits) -> None:
    pixels = digit_images().pixels[:50]
    images = [image_of(row) for row in pixels]
    log_probs = task._classifier.log_probs(pixels_of(images))
    assert np.allclose(np.exp(log_probs).sum(1), 1)
    for digit in (0, 9):
        wanted = [max(0.0, 1 + value / 8) for value in log_probs[:, digit]]
        assert task.score_images(task.problem(digit), images) == pytest.approx(wanted, abs=1e-12)


def test_an_images_reward_does_not_depend_on_its_company(task: Digits) -> None:
    images = [image_of(row) for row in digit_images().pixels[:40]]
    together = task.score_images(task.problem(3), images)
    assert together == pytest.approx(
        [task.score_images(task.problem(3), [image])[0] for image in images], abs=1e-12
    )


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.randoms(use_true_random=False))
def test_any_image_has_a_reward(task: Digits, width: int, height: int, channels: int, random) -> None:  # type: ignore[no-untyped-def]
    image = Image(width, height, channels, random.randbytes(width * height * channels))
    (reward,) = task.score_images(task.problem(5), [image])
    assert 0 <= reward <= 1
    (row,) = pixels_of([image])
    assert row.min() >= -1 - 1e-5 and row.max() <= 1 + 1e-5


def test_larger_and_coloured_images_are_averaged(task: Digits) -> None:
    pixels = digit_images().pixels[0]
    small, large = image_of(pixels), image_of(pixels, 32)
    coloured = Image(8, 8, 3, bytes(value for value in small.pixels for _ in range(3)))
    rows = pixels_of([small, large, coloured])
    assert np.allclose(rows, rows[0], atol=1e-5)
    flat = pixels_of([Image(5, 3, 1, bytes([200]) * 15)])
    assert np.allclose(flat, 200 / 127.5 - 1, atol=1e-5)


def test_a_group_is_scored_and_text_gets_nothing(task: Digits) -> None:
    seen = digit_images()
    digit = int(seen.digits[0])
    drawn = Rollout("", (), Finish.STOP, image=image_of(seen.pixels[0]))
    group = score_group(task, Group(task.problem(digit), (drawn, Rollout("seven", (), Finish.STOP))))
    assert group.rewards[0] > 0.9 and group.rewards[1] == 0
    assert task.score_images(task.problem(1), []) == []


def test_it_is_built_by_name_without_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(digit_scorers, "STEPS", 2)
    assert build_task(TaskSpec("digits")).name == "digits@1"
    with pytest.raises(TaskError, match="takes no parameters"):
        build_task(TaskSpec("digits", {"side": 16}))
