"""A whole policy on a pipeline: drawn, taught and saved behind the same seam as the digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_encoders
import torch

from node import doctor
from node.config.packages import Missing, command_for
from node.config.reading import load_config
from node.config.schema import Config, parse_config
from node.runtime.build import build_policy
from policies.policy import RolloutRequest
from policies.rollout import Group, Image, Problem, TrainGroup


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("pipeline")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        tiny_encoders.sd3().save_pretrained(folder)
    source = {
        "type": "pipeline",
        "path": str(folder),
        "dtype": "bfloat16",
        "height": 16,
        "width": 16,
        "steps": 4,
        "guidance": 3.0,
        "call": {"max_sequence_length": 16},
        "lora": {"rank": 2},
    }
    tree = {"splits": {0: 2, 1: 2}, "noisy": {"first": 0, "size": 2}}
    policy = {"type": "diffusion", "source": source, "tree": tree, "trainer": {"rows": 3}}
    return parse_config({"seed": 0, "device": "cpu", "tasks": [{"name": "pickscore"}], "policy": policy})


def problem(seed: int) -> Problem:
    return Problem("pickscore@1", seed, f"fox number {seed}", "")


def redness(image: Image | None) -> float:
    assert image is not None and (image.width, image.height, image.channels) == (16, 16, 3)
    return sum(image.pixels[::3]) / len(image.pixels[::3]) / 255


def test_it_draws_learns_from_own_and_foreign_images_and_goes_on_from_a_checkpoint(
    config: Config, tmp_path: Path
) -> None:
    policy = build_policy(config, lambda *_: None)
    assert policy.fingerprint.startswith("SD3Transformer2DModel-")
    requests = [RolloutRequest(problem(seed), 100 * seed + n) for seed in (1, 2) for n in range(4)]
    rollouts = policy.sample(requests)
    rewards = [redness(rollout.image) for rollout in rollouts]
    assert len(set(rewards)) > 4
    batch = []
    for place, external in ((0, False), (4, True)):
        members = [rollouts[place + n].scored(rewards[place + n]) for n in range(4)]
        mean = sum(rewards[place : place + 4]) / 4
        advantages = tuple(100 * (reward - mean) for reward in rewards[place : place + 4])
        asked = problem(1 + place // 4) if not external else problem(9)
        batch.append(TrainGroup(Group(asked, tuple(members)), advantages))
    report = policy.update(batch)
    assert report is not None and policy.version == 1
    policy.save(tmp_path)
    restored = build_policy(config, lambda *_: None)
    before = restored.sample(requests[:4], held_out=True)
    restored.load(tmp_path)
    after = restored.sample(requests[:4], held_out=True)
    assert [r.image for r in after] == [r.image for r in policy.sample(requests[:4], held_out=True)]
    assert [r.image for r in after] != [r.image for r in before]


def test_doctor_names_the_extra_that_diffusion_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [Missing("diffusers", "a diffusion policy", "diffusion")]
    monkeypatch.setattr(doctor, "_gpu_memory", lambda: 0)
    monkeypatch.setattr(doctor, "missing_packages", lambda config: lost)
    finding = doctor.check_diffusion()
    assert finding.fact.startswith("digits can run here after an install; sd3 ")
    assert finding.fix == command_for(lost)  # on a line of its own, to be pasted


@pytest.mark.parametrize(
    ("gpu", "able", "rest"),
    [
        (0, "digits", "sd3 (22 GB) and flux (40 GB) cannot: this machine has no GPU for that"),
        (20, "digits", "sd3 (22 GB) and flux (40 GB) cannot: this machine's GPU has 20 GB"),
        (25, "digits and sd3", "flux (40 GB) cannot: this machine's GPU has 25 GB"),
        (85, "digits and sd3 and flux", ""),
    ],
)
def test_doctor_says_which_diffusion_presets_this_machine_can_run(
    gpu: int, able: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpu_memory", lambda: gpu * doctor.GB)
    finding = doctor.check_diffusion()
    assert (finding.state, finding.fact) == ("ok", "; ".join(filter(None, [f"{able} can run here", rest])))
    assert ("lists what takes it" in finding.fix) is bool(rest)
    plan = doctor.check_plan(load_config("sd3"))
    assert plan.fact.startswith("it needs about 18 GB (network 4.9")
    assert (plan.state, bool(plan.fix)) == (("ok", False) if "sd3" in able else ("failure", True))


def test_doctor_plans_no_pipeline_of_unknown_shape_and_says_so(config: Config) -> None:
    finding = doctor.check_plan(config)
    assert finding.state == "warning" and "is not known" in finding.fact
    assert doctor.check_plan(load_config("digits")).state == "ok"
