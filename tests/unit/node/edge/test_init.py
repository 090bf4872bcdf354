"""`murmur init`: a config with every key and its words, which reads as what was asked for."""

from __future__ import annotations

import errno
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import murmur
from typer.testing import CliRunner

from node import starter
from node.cli import app
from node.config.reading import PRESETS, load_config
from node.config.schema import Config
from node.config.template import template_of, toml
from node.starter import Answers, ask

SHIPPED = sorted(path.stem for path in PRESETS[-1].glob("*.toml"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    return lambda *words: murmur(monkeypatch, capsys, *words)


def test_a_full_disk_names_the_file_and_leaves_nothing(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does: without a name

    monkeypatch.setattr(Path, "write_text", full)
    done = told("init", "pond")
    assert done.code == 3 and done.err.startswith(
        "murmur: the disk is full (pond/murmur.toml): free some space"
    ), done.err
    assert list(Path("pond").iterdir()) == []


def test_it_writes_a_config_that_run_takes_and_says_the_command(told: Any) -> None:
    answer = told("init")
    assert (answer.code, answer.err) == (0, "") and answer.out.splitlines()[-1].endswith(" run murmur.toml")
    config = load_config("murmur.toml")
    assert (config.policy.type, config.swarm.type, config.device) == ("embedded", "silo", "auto")
    assert [task.name for task in config.tasks] == list(starter.FIRST_TASKS)


def test_options_are_the_answers(told: Any) -> None:
    words = ("--model", "./mine.gguf", "--task", "sort", "--task", "add", "--device", "cpu", "--swarm")
    answer = told("init", "deep/below", *words)
    config = load_config("deep/below/murmur.toml")
    assert answer.code == 0 and config.policy.type == "text" and config.device == "cpu"
    assert config.policy.model.path == str(Path("mine.gguf").absolute()) and config.policy.model.lora
    assert [task.name for task in config.tasks] == ["sort", "add"]
    assert (config.swarm.type, config.sampler.local, config.sampler.external) == ("dht", 4, 4)


def test_a_private_swarm_is_founded_and_joined_and_a_run_of_its_config_stays_alone(told: Any) -> None:
    lines = told("init", "privy", "--private").out.splitlines()
    assert "bootstrap --config privy/murmur.toml --private --run-dir runs/bootstrap-privy " in lines[-2]
    assert 'join "$(cat runs/bootstrap-privy/invite.txt)" --config privy/murmur.toml' in lines[-1]
    assert load_config("privy/murmur.toml").swarm.type == "silo"
    assert load_config("privy/murmur.toml", for_role=True).swarm.type == "dht"


def test_image_tasks_get_a_policy_that_draws(told: Any) -> None:
    assert told("init", "--task", "digits").code == 0
    assert load_config("murmur.toml").policy.type == "diffusion"


def test_nothing_is_overwritten(told: Any, tmp_path: Path) -> None:
    Path("murmur.toml").write_text("mine")
    answer = told("init")
    assert answer.code == 2 and "is there already" in answer.err
    assert Path("murmur.toml").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "srot"), "the nearest is 'sort'"),
        (("--task", "digits", "--task", "sort"), "images or text"),
        (("--task", "digits", "--model", "x"), "configs/sd3.toml"),
        (("--swarm", "--private"), "leave one out"),
    ],
)
def test_answers_that_do_not_fit_are_refused_before_anything_is_written(
    words: tuple[str, ...], said: str, told: Any, tmp_path: Path
) -> None:
    answer = told("init", *words)
    assert answer.code == 2 and said in answer.err and list(tmp_path.iterdir()) == []


def test_at_a_terminal_it_asks_for_what_no_option_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(words: str, *, value_proc: Callable[[str], Answers], **_: object) -> Answers:
        asked.append(words.split()[0])
        return value_proc({"model": "", "tasks": "sort add", "device": "cpu", "company": "swarm"}[asked[-1]])

    default = Answers(None, starter.FIRST_TASKS, "auto", "alone")
    assert ask(default, []) == default and asked == []  # pytest has no terminal
    monkeypatch.setattr(starter, "at_terminal", lambda: True)
    monkeypatch.setattr(starter.typer, "prompt", prompt)
    assert ask(default, ["device"]) == Answers(None, ("sort", "add"), "auto", "swarm")
    assert asked == ["model", "tasks", "company"]


def test_a_wrong_answer_is_told_and_asked_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(starter, "at_terminal", lambda: True)
    typed = "\nsrot\nsort digits\nsort add\ngpu\ncpu\ntogether\nswarm\n"
    told = CliRunner().invoke(app, ["init", str(tmp_path / "new")], input=typed)
    assert told.exit_code == 0, told.output
    for said in (
        "the nearest is 'sort'",
        "images or text",
        "device: must be",
        "company is alone, swarm or private",
    ):
        assert said in told.output
    config = load_config(tmp_path / "new" / "murmur.toml")
    assert [task.name for task in config.tasks] == ["sort", "add"] and config.device == "cpu"


def test_a_wrong_option_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(starter, "at_terminal", lambda: True)
    monkeypatch.setattr(starter.typer, "prompt", lambda *_, **__: pytest.fail("it asked"))
    told = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--task", "srot"])
    assert told.exit_code != 0 and not (tmp_path / "new").exists()


@pytest.mark.parametrize("preset", SHIPPED)
def test_every_config_reads_back_as_itself_also_with_its_defaults_uncommented(preset: str) -> None:
    config = load_config(preset)
    text = template_of(config, "a head")
    for version in (text, re.sub(r"^# (?=\w)", "", text, flags=re.M)):
        assert Config.model_validate(tomllib.loads(version)) == config


@pytest.mark.parametrize("preset", SHIPPED)
def test_every_key_is_there_under_its_words(preset: str) -> None:
    lines = template_of(load_config(preset)).splitlines()
    tree = json.loads(load_config(preset).model_dump_json())
    first = [*lines]
    missing = [
        k for k in keys_of(tree) if not any(re.match(rf"(# +)?{k} (=|is not)|.*[\[.]{k}\]", x) for x in first)
    ]
    assert missing == []
    bare = [
        n
        for n, line in enumerate(lines)
        if re.match(r"(# )?\w+ = ", line) and not lines[n - 1].startswith("##")
    ]
    listed = [n for n in bare if any(line == "[[tasks]]" for line in lines[n - 3 : n])]
    assert bare == listed  # further tasks repeat no words


def keys_of(tree: dict[str, Any]) -> Iterator[str]:
    """Names of keys; those of free tables are their owner's own."""
    for name, value in tree.items():
        yield name
        if isinstance(value, dict) and name not in ("params", "skills", "splits", "template_args"):
            yield from keys_of(value)


@pytest.mark.parametrize("text", ['a "quote" \\ and\nline', "\x7f\x01", "ü", ""])
def test_any_string_reads_back(text: str) -> None:
    assert tomllib.loads(f"key = {toml({text: [text, True, 1e-9, -3]})}")["key"] == {
        text: [text, True, 1e-9, -3]
    }
