"""The reference of every command and option, read off the typer application."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from node import failures
from node.cli import app


@dataclass(frozen=True, slots=True)
class Command:
    """One command with its arguments and options, as `--help` has them."""

    name: str  # the whole of it: `murmur config show`
    usage: str
    help: str
    parameters: tuple[tuple[str, str], ...]  # name, meaning


def commands() -> list[Command]:
    """Every command that does something, in the order of `murmur --help`."""
    return list(_commands(typer.main.get_command(app), "murmur", None))


def commands_page() -> str:
    """The page, as Markdown."""
    lines = ["# Every command", "", "Generated from the code; `murmur COMMAND --help` says the same."]
    for command in commands():
        lines += ["", f"## {command.name}", "", command.help, "", "```", command.usage, "```", ""]
        lines += ["| argument or option | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {meaning} |" for name, meaning in command.parameters]
    lines += ["", "## Exit codes", "", inspect.cleandoc(failures.__doc__ or "").split("\n\n")[-1]]
    return "\n".join(lines) + "\n"


def _commands(command: Any, name: str, parent: Any) -> Iterator[Command]:
    context = command.context_class(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:  # a group may do something by itself
        yield _command(command, name, context)
    for child, inner in children.items():
        if not inner.hidden:
            yield from _commands(inner, f"{name} {child}", context)


def _command(command: Any, name: str, context: Any) -> Command:
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    told = tuple((_cell(record[0]), _cell(record[1])) for record in records if record)
    return Command(name, usage, " ".join((command.help or "").split()), told)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
