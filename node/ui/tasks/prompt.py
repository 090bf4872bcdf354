"""`murmur prompt show`: a problem exactly as the policy reads it, token for token, without loading the weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.ui.patience import patient
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.options import JsonOption
from node.ui.terminal.window import say_aside
from swarm.visible_text import visible

if TYPE_CHECKING:
    from node.config.schema import Config
    from policies.rollout import Problem
    from policies.tasks.task import Task
    from policies.text.encoding import Encoding

prompt_app = typer.Typer(
    cls=WholeSummaries, no_args_is_help=True, help="What the policy reads before it begins to write."
)


@prompt_app.callback()
def _prompts() -> None:
    """A group of one verb: typer would leave its name out."""


@prompt_app.command("show")
def show_prompt(
    config: Annotated[
        str,
        typer.Argument(
            help="TOML file, or the name of a preset in configs/. Default: tiny.", show_default=False
        ),
    ] = "tiny",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one key: --set policy.prompt.system='Be brief.'"
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task of the config. Default: its first.")] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Which of the task's problems.")
    ] = 0,
    tokens: Annotated[bool, typer.Option("--tokens", help="Every token with its id.")] = False,
    as_json: JsonOption = False,
) -> None:
    """A problem as the policy reads it: template, system message, examples and the answer's form round it."""
    from node.config.reading import load_config

    with patient("loading the tokenizer"):
        facts = facts_of(load_config(config, overrides or (), for_role=True), task, seed)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(visible(facts["prompt"], 10**6))
    if tokens:
        width = len(str(max(facts["token_ids"])))
        for index, piece in zip(facts["token_ids"], facts["pieces"], strict=True):
            typer.echo(f"{index:>{width}}  {piece!r}")
    say_aside(f"\n{facts['task']}, seed {facts['seed']}: {len(facts['token_ids'])} tokens")
    for note in facts["notes"]:
        say_aside(note)


def facts_of(config: Config, name: str | None, seed: int) -> dict[str, Any]:
    """Prompt, tokens and notes. Raises ConfigError, TaskError, PolicyError."""
    task = _task(config, name)
    problem = task.problem(seed)
    encoding = _encoding(config)
    ids = encoding.problem_prompt(problem)
    return {
        "task": task.name,
        "seed": seed,
        "prompt": encoding.spelt(ids),
        "token_ids": list(ids),
        "pieces": [encoding.spelt([index]) for index in ids],
        "stop": list(encoding.stop_strings.strings),
        "notes": [*encoding.notes, *_fit(config, task, problem, len(ids))],
    }


def _task(config: Config, name: str | None) -> Task:
    from node.config.schema import ConfigError
    from policies.tasks import build_task

    found = [task for task in config.tasks if name in (None, task.name)]
    if not found:
        raise ConfigError(
            f"no task {name!r} in the config; it has {', '.join(task.name for task in config.tasks)}"
        )
    return build_task(found[0].spec)


def _encoding(config: Config) -> Encoding:
    """The policy's own, made of its tokenizer alone. Raises PolicyError, and ConfigError for a policy of images."""
    from node.config.schema import ConfigError
    from node.config.sections.policy import DiffusionPolicyConfig, EmbeddedPolicyConfig
    from policies.text.encoding import Encoding
    from policies.text.policy import in_words
    from policies.text.speech import load_speech
    from policies.text.tokenizer import build_tokenizer

    policy = config.policy
    if isinstance(policy, DiffusionPolicyConfig):
        raise ConfigError(
            "this policy makes images: it reads a problem's words as they are; see `murmur tasks show`"
        )
    cap = policy.generation.external_cap
    if isinstance(policy, EmbeddedPolicyConfig):
        return Encoding(build_tokenizer(), policy.prompt, cap)
    tokenizer, ends = load_speech(policy.model)
    return Encoding(tokenizer, in_words(policy).prompt, cap, generation_eos=ends)


def _fit(config: Config, task: Task, problem: Problem, length: int) -> list[str]:
    """What does not fit: a prompt over its cap, or a verifier that does not read the form that is asked for."""
    from node.config.sections.policy import DiffusionPolicyConfig
    from policies.tasks.form_check import form_fault

    assert not isinstance(config.policy, DiffusionPolicyConfig)
    prompt, faults = config.policy.prompt, []
    if prompt.max_tokens is not None and length > prompt.max_tokens:
        done = "is skipped" if prompt.too_long == "skip" else "ends the run before it begins"
        faults.append(f"longer than policy.prompt.max_tokens, {prompt.max_tokens}: such a problem {done}")
    fault = form_fault(prompt.form, task, problem)
    return [*faults, fault] if fault else faults
