"""`murmur init`: the config to begin with, from four answers, as options or at a terminal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import typer

from node.config.packages import require_packages
from node.config.schema import Config, ConfigError, parse_config
from node.config.template import template_of
from node.storage.run_folder import RunFolderError, naming
from node.ui.invocation import at_terminal, murmur
from node.ui.terminal.window import say_lines
from policies.hardware import free_memory, usable_cores
from policies.tasks import EMBEDDED, asks_for_images, build_task
from policies.tasks.task import TaskError, TaskSpec
from swarm.errors import ExtraMissing
from swarm.visible_text import counted

Company = Literal["alone", "swarm", "private"]
NAME = "murmur.toml"
FIRST_TASKS = ("maximum", "shift", "binary")
# The tiny policy at its start knows a little of its first tasks, or no rollout would ever be right.
SKILL = 0.3


@dataclass(frozen=True, slots=True)
class Answers:
    """What a config is begun with."""

    model: str | None  # None: the tiny policy, made here
    tasks: tuple[str, ...]
    device: str
    company: Company


def answered(
    model: str | None, tasks: Sequence[str], device: str | None, *, swarm: bool, private: bool
) -> tuple[Answers, list[str]]:
    """The answers that options give, defaults for the rest, and which were given. Raises ConfigError."""
    if swarm and private:
        raise ConfigError("--swarm and --private: leave one out; a private swarm is one too")
    company: Company = "private" if private else "swarm" if swarm else "alone"
    given = {"model": model, "tasks": tasks, "device": device, "company": swarm or private}
    answers = Answers(model, tuple(tasks) or FIRST_TASKS, device or "auto", company)
    return answers, [name for name, value in given.items() if value]


def begin(folder: Path, answers: Answers) -> None:
    """Writes the config and prints what comes next. Raises as `write_starter`."""
    say_lines("\n".join(write_starter(folder, answers)))


def write_starter(folder: Path, answers: Answers) -> list[str]:
    """Writes `murmur.toml` into the folder; gives what to say and the commands that come next.

    Raises RunFolderError where the file is there already, ConfigError, TaskError.
    """
    path = folder / NAME
    config = starter_config(answers)
    commands = _next_commands(answers.company, path)
    head = "\n".join(
        ["A config of murmur. Every key is here; what is commented out has its default.", *commands]
    )
    folder.mkdir(parents=True, exist_ok=True)
    _create(path, template_of(config, head))
    return [
        f"wrote {path}: every key, each with its words",
        f"this machine has {counted(usable_cores(), 'CPU core')} and {free_memory() / 1e9:.1f} GB of memory free; "
        f"{murmur('doctor')} looks closer",
        "next:",
        *(f"  {command}" for command in commands),
    ]


def starter_config(answers: Answers) -> Config:
    """The whole config. Raises ConfigError, ExtraMissing, and TaskError for a task that there is not."""
    if answers.company not in get_args(Company):
        raise ConfigError(f"company is alone, swarm or private; it is {answers.company!r}")
    specs = [TaskSpec(name, {}) for name in answers.tasks]
    tree: dict[str, Any] = {
        "device": answers.device,
        "tasks": [{"name": spec.name} for spec in specs],
        "policy": _policy(answers, specs),
    }
    if answers.company == "swarm":
        tree |= {"swarm": {"type": "dht"}, "sampler": {"local": 4, "external": 4}}
    config = parse_config(tree)
    require_packages(config)
    for spec in specs:
        build_task(spec)
    return config


def ask(answers: Answers, given: Sequence[str]) -> Answers:
    """Asks for what was not `given` as an option, at a terminal; elsewhere nothing is asked.

    An answer that makes no config is told, and asked for again. Raises as `starter_config` does for what was given.
    """
    if not at_terminal():
        return answers
    starter_config(answers)
    if "model" not in given:
        say_lines(
            "Which model? A folder of safetensors, a .gguf file or a name on the hub; empty: a tiny one, made here."
        )
        answers = _asked(answers, "model", "", lambda said: {"model": said.strip() or None})
    if "tasks" not in given:
        say_lines(f"Which tasks, with spaces between? {murmur('tasks')} lists all.")
        first = " ".join(answers.tasks)
        answers = _asked(answers, "tasks", first, lambda said: {"tasks": tuple(said.split())})
    if "device" not in given:
        words = "device (auto, cpu, cuda or mps)"
        answers = _asked(answers, words, answers.device, lambda said: {"device": said})
    if "company" not in given:
        say_lines("alone, in a swarm that anybody with its invite can join, or in a private one?")
        words = "company (alone, swarm or private)"
        answers = _asked(answers, words, answers.company, lambda said: {"company": said})
    return answers


def _asked(answers: Answers, words: str, default: str, read: Callable[[str], dict[str, Any]]) -> Answers:
    """`answers` with the one to this question, which is asked until it makes a config with those before it."""

    def checked(said: str) -> Answers:
        try:
            changed = replace(answers, **read(said))
            starter_config(changed)
        except (ConfigError, TaskError, ExtraMissing) as error:
            raise typer.BadParameter(str(error)) from error
        return changed

    found: Answers = typer.prompt(words, default=default, show_default=bool(default), value_proc=checked)
    return found


def _policy(answers: Answers, specs: Sequence[TaskSpec]) -> dict[str, Any]:
    images = [spec.name for spec in specs if asks_for_images(spec)]
    if images and len(images) < len(specs):
        raise ConfigError(f"{', '.join(images)}: a policy makes images or text; give tasks of one kind")
    if images and answers.model:
        raise ConfigError(
            "a pipeline of diffusers has settings of its own: begin with configs/sd3.toml or configs/flux.toml"
        )
    if images:
        return {"type": "diffusion"}
    if answers.model:
        trainer = {"learning_rate": 3e-4, "max_grad_norm": 0.5}
        return {"type": "text", "model": {"path": answers.model, "lora": {}}, "trainer": trainer}
    skills = {spec.name: SKILL for spec in specs if spec.name in EMBEDDED}
    return {
        "type": "embedded",
        "generation": {"max_new_tokens": 12},
        "trainer": {"learning_rate": 3e-4},
        "warm_start": {"skills": skills} if skills else {},
    }


def _next_commands(company: Company, path: Path) -> list[str]:
    """A private swarm is founded from a run folder of its own: the default one may be another swarm's."""
    own = Path("runs", f"bootstrap-{path.absolute().parent.name}")
    bootstrap = murmur("bootstrap", "--config", path, "--private", "--run-dir", own)
    join = (
        f'{murmur("join")} "$(cat {shlex.quote(str(own / "invite.txt"))})" --config {shlex.quote(str(path))}'
    )
    return {
        "alone": [murmur("run", path)],
        "swarm": [murmur("run", path)],
        "private": [f"{bootstrap}    # in a terminal of its own", join],
    }[company]


def _create(path: Path, text: str) -> None:
    """Writes the whole file or none; never over another one. Raises RunFolderError, OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path):
            draft.write_text(text, encoding="utf-8")
            os.link(draft, path)
    except FileExistsError:
        raise RunFolderError(f"{path} is there already: name another folder, or move it away") from None
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
