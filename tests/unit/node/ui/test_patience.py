"""A wait says what it waits for, and less often the longer it lasts."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.ui.patience import Patience
from node.ui.run_view import RunView


def test_a_long_wait_is_told_again_and_again_and_a_new_one_by_its_own_name() -> None:
    said: list[str] = []
    three, more = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            three.set()
        if "joining" in line:
            more.set()

    patience = Patience(say, first=0.01)
    with patience.watching("loading the policy"):
        assert three.wait(30)
        patience.begin("joining the swarm")
        assert more.wait(30)
    assert said[0].startswith("still loading the policy, ") and said[0].endswith(" s so far")
    assert not any(thread.name == "patience" for thread in threading.enumerate())


def test_the_longest_wait_is_told_of_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.ui.patience.LONGEST_SILENCE", 0.02)
    told, tenth = itertools.count(1), threading.Event()
    patience = Patience(lambda line: tenth.set() if next(told) == 10 else None, first=0.01)
    with patience.watching("loading the policy"):  # doubled each time, the tenth would come after ten seconds
        assert tenth.wait(5)


def test_nothing_is_said_where_lines_come_by_themselves() -> None:
    said: list[str] = []
    with Patience(said.append, first=3600.0).watching("loading"):
        pass
    assert said == []


def test_a_script_s_output_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView("json", "run")
    view.patience.say_now()
    assert capsys.readouterr().out == ""
    view = RunView("plain", "run")
    view.patience.begin("loading torch")
    view.patience.say_now()
    assert capsys.readouterr().out == "still loading torch, 0 s so far\n"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["prompt", "show", "tiny"], "loading the tokenizer"),
        (["run", "tiny", "--dry-run"], "loading torch"),
    ],
)
def test_a_command_without_a_view_tells_a_long_wait(
    command: list[str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience.__init__, "__defaults__", (0.001,))
    facts = {"prompt": "2 + 2?", "token_ids": [1], "pieces": ["2"], "task": "add", "seed": 0, "notes": []}
    monkeypatch.setattr("node.ui.tasks.prompt.facts_of", lambda *_: time.sleep(0.2) or facts)
    monkeypatch.setattr("node.runtime.memory.plan_memory", lambda *_: time.sleep(0.2))
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0 and f"still {what}, 0 s so far" in told.stderr
