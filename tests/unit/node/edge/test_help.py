"""`murmur --help`: the commands in the order in which somebody new would try them, each with its whole summary."""

from __future__ import annotations

import pytest
from command_line import murmur
from typer.main import get_command

from node.cli import app
from node.failures import ORDER


def test_every_command_stands_in_its_place_under_a_whole_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = get_command(app)
    assert tuple(group.list_commands(None)) == ORDER  # type: ignore[attr-defined, arg-type]
    page = murmur(monkeypatch, capsys, "--help").out
    listed = " ".join(page.partition("Commands:")[2].split())
    assert "..." not in listed and "its task's verifier. Exit code 1 if a reward is another one." in listed


@pytest.mark.parametrize("group", ["tasks", "prompt", "rollouts", "config", "bench"])
def test_a_group_tells_its_commands_whole_too(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = murmur(monkeypatch, capsys, group, "--help").out.partition("Commands:")[2]
    assert listed.strip() and "..." not in listed


def test_defaults_are_told_in_one_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [
        " ".join(murmur(monkeypatch, capsys, *verb, "--help").out.split())
        for verb in (["prompt", "show"], ["run"], ["join"], ["bootstrap"])
    ]
    assert all("Default: tiny." in page and "[default: tiny]" not in page for page in pages)
    assert "Default: a new runs/COMMAND-N, of run a new runs/CONFIG-N." in pages[1]


@pytest.mark.parametrize("verb", ["run", "silo", "join", "demo", "init", "prompt show"])
def test_what_an_option_takes_is_said_in_words(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = murmur(monkeypatch, capsys, *verb.split(), "--help").out
    assert "list[str]" not in page.partition("Options:")[2] and "runs/join-1" not in page
