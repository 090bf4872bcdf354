"""The command's own options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from click import Command
from typer.main import get_command
from typer.testing import CliRunner

from node.cli import app
from swarm.version import find_version


def test_the_version_is_printed_alone() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.stdout) == (0, f"murmur {find_version()}\n")


def test_a_bare_command_shows_its_verbs() -> None:
    told = CliRunner().invoke(app, [])
    assert "demo" in told.stdout + told.stderr and "bootstrap" in told.stdout + told.stderr


def test_no_help_calls_a_number_an_int_range() -> None:
    for words in _verbs(get_command(app)):
        told = CliRunner().invoke(app, [*words, "--help"])
        assert told.exit_code == 0 and "range>" not in told.stdout.lower(), words


def _verbs(command: Command) -> Iterator[list[str]]:
    """The words of each command of the tree below `command`."""
    yield []
    for name, below in getattr(command, "commands", {}).items():
        yield from ([name, *words] for words in _verbs(below))


def test_a_key_that_is_made_is_said_to_be_new(tmp_path: Path) -> None:
    first, second = (CliRunner().invoke(app, ["identity", "--path", str(tmp_path / "own.key")]) for _ in "12")
    assert "was not there: a new key is made" in first.stderr and second.stderr == ""
    assert first.stdout == second.stdout
