"""Lines at the edge of a window: broken between words and items, commands whole, and piped output as it is."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from node.doctor import Finding, show_findings
from node.failures import end_with
from node.storage.events import EvaluationEvent
from node.ui.invocation import murmur
from node.ui.run_view import RunView
from node.ui.terminal.window import in_window, say_aside

TASKS = {"maximum@3": 0.91, "shift@3": 0.97, "binary@3": 0.88, "sort@3": 0.5}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A terminal of unknown size to write to, and the end at which it is read."""
    outer, inner = pty.openpty()
    with Path(os.ttyname(inner)).open("w", encoding="utf-8") as stream:
        yield stream, outer
    os.close(inner)
    os.close(outer)


def test_lines_break_between_words_and_what_is_to_be_copied_stays_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentence, command = "word " * 30, f"  murmur join murmur2:{'x' * 120}"
    text = f"{sentence.strip()}\nof /ip4/127.0.0.1/tcp/4001/p2p/{'y' * 90}\n{command}"
    monkeypatch.delenv("COLUMNS", raising=False)
    assert in_window(text) == text  # of a log, a line is a line
    monkeypatch.setenv("COLUMNS", "80")
    lines = in_window(text).split("\n")
    assert lines[:3] == [("word " * 16).strip(), ("word " * 14).strip(), "of"]
    assert lines[3].endswith("y" * 90) and lines[4:] == [command]


def test_a_command_behind_a_colon_has_a_line_of_its_own(narrow: None) -> None:
    look, take = murmur("stats", "x" * 40), murmur("export", "x" * 40, "my-model")
    hints = f"look at it: {look}; take it away: {take}"
    assert in_window(hints).split("\n") == ["look at it:", f"  {look}", "take it away:", f"  {take}"]
    install = "/opt/venv/bin/python -m pip install -e '/opt/murmuration[envs,gguf,diffusion]'"
    assert in_window(f"not installed here; install with: {install}").split("\n")[-1] == f"  {install}"


def test_a_command_amid_a_sentence_is_not_broken(narrow: None) -> None:
    command = murmur("rollouts", "runs/join-1")
    told = in_window(f"the run keeps no rollout 9 of those that were asked for here, and {command} lists all")
    assert command in told and "\n" in told


def test_what_is_held_out_breaks_between_tasks(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    event = EvaluationEvent(round=1200, reward=0.9, rewards_by_task=TASKS)
    with RunView("plain", "run") as view:
        view.on_evaluation(event)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("held-out after round 1200: 0.900  maximum@3 0.91  shift@3 0.97")
    assert second.startswith("  ") and second.split()[-2:] == ["sort@3", "0.50"]


def test_doctor_hangs_what_continues_a_finding(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    install = "/opt/venv/bin/python -m pip install -e '/opt/murmuration[envs,gguf]'"
    found = [
        Finding("diffusion", "ok", "word " * 20, "and " * 20),
        Finding("extras", "warning", "not installed: envs", install),
    ]
    show_findings(found, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and f"  {install}" in lines
    assert lines[1].startswith(" " * 18 + "word") and lines[3].startswith(" " * 21 + "and")
    assert [line[8:18].strip() for line in lines if line[0] != " "] == ["diffusion", "extras"]


def test_errors_break_in_a_window_and_stay_a_line_in_a_log(
    terminal: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = "a network that is none " * 6
    end_with(OSError(said))
    assert capsys.readouterr().err == f"murmur: {said}\n"
    stream, outer = terminal
    monkeypatch.setattr("sys.stderr", stream)
    end_with(OSError(said))
    lines = os.read(outer, 4096).decode().split()
    assert lines == f"murmur: {said}".split()
    say_aside(said)
    assert max(map(len, os.read(outer, 4096).decode().splitlines())) <= 60
