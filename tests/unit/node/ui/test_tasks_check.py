"""`murmur tasks check` and `show` on own questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from policies.tasks.verifiers.regex import SEARCHES, Regex

run = CliRunner().invoke
ROWS = "".join(json.dumps({"q": f"{i} + 1?", "a": f"#### {i + 1}"}) + "\n" for i in range(30))
ASKED = ["--prompt", "Solve {q}", "--answer", "{a}", "--verifier", "number"]
CONFIG = """
[[tasks]]
name = "data:sums"
path = "sums.jsonl"
prompt = "Solve {q}"
answer = "{a}"
verifier = "number"
"""


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sums.jsonl").write_text(ROWS)
    Path("own.toml").write_text(CONFIG)


def test_right_answers_and_junk_are_tried() -> None:
    done = run(app, ["tasks", "check", "sums.jsonl", *ASKED, "--json"])
    assert done.exit_code == 0, done.output
    [task] = json.loads(done.stdout)["tasks"]
    assert task["training"] + task["held_out"] == 30 and len(task["rows"]) == 3 and task["warning"] is None
    for row in task["rows"]:
        assert row["prompt"].startswith("Solve ") and row["answer"].startswith("#### ")
        assert list(row["rewards"].values()) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_person_reads_the_same() -> None:
    told = run(app, ["tasks", "check", "sums.jsonl", *ASKED, "--rows", "1"]).stdout
    assert "data@" in told and "for evaluation alone" in told and "Solve " in told
    assert "     1.000  the answer alone" in told and "     0.000  another row's answer" in told


def test_a_config_s_data_tasks_are_those_that_its_run_meets() -> None:
    checked = json.loads(run(app, ["tasks", "check", "own.toml", "--json"]).stdout)["tasks"]
    shown = json.loads(run(app, ["tasks", "show", "data:sums", "--config", "own.toml", "--json"]).stdout)
    assert [task["task"] for task in checked] == [shown["task"]]
    assert [p["prompt"] for p in shown["problems"][:3]] == [row["prompt"] for row in checked[0]["rows"]]


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        ('{"name": "regex", "pattern": "nothing has this"}', "no right answer got a reward"),
        ('{"name": "regex", "pattern": "."}', "junk gets most of the reward"),
    ],
)
def test_a_verifier_that_cannot_tell_is_warned_of(verifier: str, words: str) -> None:
    done = run(app, ["tasks", "check", "sums.jsonl", *ASKED[:4], "--verifier", verifier])
    assert done.exit_code == 0 and words in done.output


def test_a_verifier_that_comes_to_no_end_is_asked_three_times_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(Regex, "score", lambda *texts: asked.append(texts))
    verifier = '{"name": "regex", "pattern": "(a+)+$"}'
    done = run(app, ["tasks", "check", "sums.jsonl", *ASKED[:4], "--verifier", verifier])
    assert done.exit_code == 0 and "no verdict on 15 of 15 texts; after 3 no other is tried" in done.output
    assert len(asked) == 3


def test_a_text_without_a_verdict_is_told_with_its_row_and_what_the_verifier_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SEARCHES, "cpu_seconds", 0.05)
    verifier = '{"name": "regex", "pattern": "^#|^S|^$|( |.)+( |.)+( |.)+( |.)+( |.)+( |.)+z"}'
    given = ["tasks", "check", "sums.jsonl", *ASKED[:4], "--verifier", verifier, "--rows", "1"]
    done = run(app, given)
    assert "no verdict on 1 of 5 texts. The first: the pattern" in done.output
    assert "I do not know, perhaps none of them.': it took over" in done.output
    assert "it took over 0.05 s of computing" in done.output and "Its prompt: 'Solve " in done.output
    [row] = json.loads(run(app, [*given, "--json"]).stdout)["tasks"][0]["rows"]
    assert len(row["reasons"]) == list(row["rewards"].values()).count(None) == 1


def test_texts_of_rows_move_no_cursor() -> None:
    rows = [{"q": f"{i} \u202e", "a": f"\u2066{i}"} for i in range(30)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for verb in (["check", "own.toml"], ["show", "data:sums", "--config", "own.toml"]):
        told = run(app, ["tasks", *verb]).output
        assert "\\u202e" in told and "\u202e" not in told and "\u2066" not in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "sums.jsonl"], "there is no column 'question'; there are a, q"),
        (["check", "sum.jsonl"], "did you mean 'sums.jsonl'"),
        (["check", "tiny.toml"], "no config file or preset"),
        (["show", "data:other", "--config", "own.toml"], "has no task 'data:other'; it has data:sums"),
        (["show", "data:sums"], "it has no rows: add path"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_an_exit_code(arguments: list[str], words: str) -> None:
    if arguments[1] == "tiny.toml":
        arguments = ["check", "absent.toml"]
    done = run(app, ["tasks", *arguments])
    assert done.exit_code == (3 if arguments[1] == "sum.jsonl" else 2) and words in done.output
