"""The command's own options."""

from __future__ import annotations

from typer.testing import CliRunner

from node.cli import app
from swarm.version import find_version


def test_the_version_is_printed_alone() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.stdout) == (0, f"murmur {find_version()}\n")


def test_a_bare_command_shows_its_verbs() -> None:
    told = CliRunner().invoke(app, [])
    assert "demo" in told.stdout + told.stderr and "bootstrap" in told.stdout + told.stderr
