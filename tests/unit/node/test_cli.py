"""The command's own options."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from node.cli import app


def test_version_is_that_of_the_installed_package() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.stdout) == (0, f"murmur {version('murmuration')}\n")


def test_a_bare_command_shows_its_verbs() -> None:
    told = CliRunner().invoke(app, [])
    assert "demo" in told.stdout + told.stderr and "bootstrap" in told.stdout + told.stderr
