"""`murmur tasks`: the tasks that a node can train on, and the problems and answers of one of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.ui.invocation import murmur
from node.ui.patience import patient
from node.ui.short_names import short_tasks
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.options import JsonOption
from node.ui.terminal.window import say_lines
from policies.install_hints import install_extras
from policies.plain_files import parse_json
from swarm.visible_text import indented

if TYPE_CHECKING:
    from policies.rollout import Problem
    from policies.tasks import TaskSpec

tasks_app = typer.Typer(
    cls=WholeSummaries, invoke_without_command=True, help="The tasks there are, and what one of them asks."
)

ConfigOption = Annotated[str | None, typer.Option(help="Config whose task of that name is meant.")]
SeedsOption = Annotated[str, typer.Option(help="One seed, or START:END without the end.")]


@tasks_app.callback()
def list_tasks(context: typer.Context, as_json: JsonOption = False) -> None:
    """Every task by name, and how to get those that are not installed."""
    if context.invoked_subcommand is not None:
        return
    from policies.tasks.gym import gym_installed, known_gym_tasks

    rows = _rows(gym=gym_installed())
    if as_json:
        missing = {} if gym_installed() else {"rg": install_extras("envs")}
        typer.echo(json.dumps({"tasks": rows, "missing": missing}, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        say_lines(f"{row['name']:{width}}  {row['about']}", hang=width + 2)
    if not gym_installed():
        more = len(known_gym_tasks()) - 1
        say_lines(
            f"\nreasoning-gym's tasks, rg:chain_sum and {more} more, are not installed: {install_extras('envs')}"
        )
    say_lines(
        f"\nProblems of one: {murmur('tasks', 'show', 'NAME')}.  "
        f"Own questions: {murmur('tasks', 'check', 'FILE.jsonl')}"
    )


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="A task's name, such as sort or rg:chain_sum.")],
    seeds: SeedsOption = "0:10",
    held_out: Annotated[
        bool, typer.Option("--held-out", help="The problems of evaluation, whose seeds never travel.")
    ] = False,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="A parameter of the task, as max_terms=2."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prompts and right answers of a task's problems."""
    from policies.tasks import build_task
    from policies.tasks.task import HELD_OUT_SEED

    chosen = _seeds(seeds)
    task = build_task(_spec_in(config, name) if config else _spec(name, params or []))
    problems = (task.problem(seed + HELD_OUT_SEED * held_out) for seed in chosen)
    if as_json:
        typer.echo(json.dumps({"task": task.name, "problems": [_plain(p) for p in problems]}, indent=2))
        return
    typer.echo(task.name)
    if short_tasks([task.name])[task.name] != task.name:
        say_lines(
            "  (behind the @ stands its release, and behind a # its digest: nodes share a task under one full name "
            "alone, see the glossary)"
        )
    for seed, problem in zip(chosen, problems, strict=True):
        prompt, answer = indented(problem.prompt), indented(problem.answer) or "(judged by its scorer)"
        typer.echo(f"\n{'held out ' if held_out else ''}{seed}:\n    {prompt}\n  answer:\n    {answer}")


@tasks_app.command("check")
def check_data(  # noqa: PLR0913  the keys of a data task
    file: Annotated[
        str,
        typer.Argument(
            help="Rows: .jsonl, .csv, .parquet, hf:OWNER/NAME; a config with data tasks; own code, FILE.py:Class."
        ),
    ],
    prompt: Annotated[str, typer.Option(help="Template: names of columns in braces.")] = "{question}",
    answer: Annotated[str, typer.Option(help="Template of the right answer.")] = "{answer}",
    verifier: Annotated[
        str, typer.Option(help="exact, number, choice, regex, json; or a JSON table of name and options.")
    ] = "exact",
    subset: Annotated[str, typer.Option(help="Of a data set of the hub: its part.")] = "",
    split: Annotated[str, typer.Option(help="Of a data set of the hub: its split.")] = "train",
    revision: Annotated[str, typer.Option(help="Of a data set of the hub: the commit, 40 hex digits.")] = "",
    rows: Annotated[int, typer.Option(metavar="N", min=0, help="Rows to show.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Try own questions: some prompts and answers, and the verifier on right answers and on junk."""
    from node.config.data_files import absolute
    from node.ui.tasks.check import show_check, tried

    if is_class(file):
        from node.ui.tasks.code_check import show_code_check

        where = absolute(file, Path.cwd()) if ".py:" in file else file
        raise typer.Exit(0 if show_code_check(where, as_json=as_json) else 2)
    from policies.tasks import TaskSpec
    from policies.tasks.data_task import NAME, build_data_task

    if file.endswith(".toml"):
        specs = _data_specs(file)
    else:
        keys = {"prompt": prompt, "answer": answer, "verifier": verifier, "subset": subset}
        keys |= {"split": split, "revision": revision, "path": absolute(file, Path.cwd())}
        specs = [TaskSpec(NAME, keys)]
    with patient(f"reading {file}") as patience:
        tasks = [build_data_task(spec) for spec in specs]
        patience.begin("trying the verifier, which may wait a minute for each text")
        reports = tried(tasks, rows)
    show_check(reports, as_json=as_json)


def is_class(text: str) -> bool:
    """Whether it names a class of own code: `FILE.py:Class` or `package.module:Class`."""
    return re.fullmatch(r"(?!hf:)[^:]+:[A-Za-z_]\w*", text) is not None


def _data_specs(file: str) -> list[TaskSpec]:
    from node.config.reading import load_config
    from node.config.schema import ConfigError
    from policies.tasks.data_task import is_data

    specs = [task.spec for task in load_config(file, for_role=True).tasks if is_data(task.name)]
    if not specs:
        raise ConfigError(f"{file} has no data task: one has name = 'data:NAME' and path = its rows")
    return specs


def _spec_in(file: str, name: str) -> TaskSpec:
    """The task of that name as a config has it."""
    from node.config.reading import load_config
    from node.config.schema import ConfigError

    tasks = load_config(file, for_role=True).tasks
    found = [task.spec for task in tasks if task.name == name]
    if not found:
        raise ConfigError(f"{file} has no task {name!r}; it has {', '.join(task.name for task in tasks)}")
    return found[0]


def _rows(*, gym: bool) -> list[dict[str, str]]:
    """Name, medium and one line on every task that can be built here."""
    from policies.image_rewards.reward_models import REWARD_MODELS
    from policies.tasks import DIGITS, EMBEDDED, digits
    from policies.tasks.gym import known_gym_tasks

    rows = []
    for name, task in EMBEDDED.items():
        example = task.problem(0)
        rows.append(_row(name, "text", f"{example.prompt!r} -> {example.answer!r}"))
    rows.append(_row(DIGITS, "image", f"{digits.PROMPTS[3]!r}, judged by a small classifier"))
    rows += [
        _row(name, "image", "images of any prompt, judged by a published reward model")
        for name in REWARD_MODELS
    ]
    rows += [
        _row(name, "text", "reasoning-gym, with a verifier of murmur's") for name in known_gym_tasks() if gym
    ]
    return rows


def _row(name: str, medium: str, about: str) -> dict[str, str]:
    return {"name": name, "medium": medium, "about": about}


def _plain(problem: Problem) -> dict[str, Any]:
    return {"seed": problem.seed, "prompt": problem.prompt, "answer": problem.answer}


def _spec(name: str, params: list[str]) -> TaskSpec:
    from policies.tasks import TaskError, TaskSpec

    given: dict[str, Any] = {}
    for param in params:
        key, equals, value = param.partition("=")
        if not (key and equals):
            raise TaskError(f"--param takes KEY=VALUE, such as max_terms=2, and not {param!r}")
        given[key] = _value(value)
    return TaskSpec(name, given)


def _value(text: str) -> bool | int | float | str:
    """A number or a truth value where it is one, else the text."""
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _seeds(text: str) -> range:
    from policies.tasks import TaskError
    from policies.tasks.task import TRAIN_SEEDS

    start, colon, end = text.partition(":")
    try:
        first = int(start or 0) if colon else int(start)
        chosen = range(first, int(end) if colon else first + 1)
    except ValueError:
        chosen = range(0)
    if not chosen or chosen[0] < 0 or chosen[-1] >= TRAIN_SEEDS:
        raise TaskError(
            f"--seeds takes one seed or START:END, from 0 to below {TRAIN_SEEDS}, such as 0:20; not {text!r}"
        )
    return chosen
