"""`murmur eval`: a run against its start, an exported folder as the run that it came from, and an early end."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from trained_run import text_policy, tiny_llama, trained_run

from node.config.reading import load_config
from node.evaluation import command
from node.evaluation.answers import FIRST_SEED, Answers, answer, interleaved, reserved
from node.evaluation.command import contenders, evaluate
from node.evaluation.errors import EvaluationError
from node.evaluation.options import options_of
from node.evaluation.report import report_of
from node.export.command import export_run
from node.storage.checkpoint import CheckpointError
from node.ui import interrupts
from node.ui.patience import Patience
from policies.rollout import Finish, Problem, Rollout
from policies.tasks import TaskSpec, build_task
from policies.tasks.task import HELD_OUT_SEED, TaskError
from policies.unjudged import tell_unjudged

SKILLED = {
    "type": "embedded",
    "trainer": {"learning_rate": 5e-4},
    "warm_start": {"size": "small", "steps": 60, "skills": {"maximum": 0.8, "add": 0.8}},
}
TASKS = [{"name": "maximum"}, {"name": "add"}]
FEW = {"rollouts": 4, "problems": 3, "seed": 0}


UNHEARD = Patience(lambda line: None)


def asked(model: Path, tasks: str = "", ks: str = "1,4", **others: Any) -> Any:
    return options_of(tasks=tasks, ks=ks, model=str(model), **FEW | others)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines_of(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(line["task"], line["metric"]): line for line in report["lines"]}


def test_a_run_is_judged_against_its_start_and_an_exported_folder_as_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained_run(tmp_path / "run", SKILLED, tasks=TASKS)
    assert evaluate(asked(run.path, show=2), UNHEARD, as_json=True) == 0
    first = told(capsys)
    assert (first["model"], first["base"], first["complete"]) == ("round 1", "start", True)
    lines = lines_of(first)
    names = ["maximum@3", "add@3", "all"]
    assert sorted(lines) == sorted((n, metric) for n in names for metric in ("pass@1", "pass@4", "reward"))
    for line in lines.values():
        assert line["difference"]["value"] == pytest.approx(line["model"]["value"] - line["base"]["value"])
        assert line["model"]["low"] <= line["model"]["value"] <= line["model"]["high"]
    assert lines["all", "pass@4"]["model"]["value"] > 0, "otherwise equal figures would say nothing"
    assert lines["all", "pass@1"]["problems"] == 6
    assert {tuple(text["answers"]) for text in first["texts"]} == {("start", "round 1")}
    assert [text["seed"] for text in first["texts"]] == [FIRST_SEED, FIRST_SEED]

    kept = run.evaluation(1).read_text()
    assert evaluate(asked(run.path, tasks="add"), UNHEARD, as_json=True) == 0
    assert "the card keeps the look at 6 problems, this one has 3" in capsys.readouterr().err
    assert run.evaluation(1).read_text() == kept
    export_run(run.path, tmp_path / "out")
    assert "### Judged by `murmur eval`" in (tmp_path / "out" / "README.md").read_text()
    assert evaluate(asked(tmp_path / "out"), UNHEARD, as_json=True) == 0
    alone = lines_of(told(capsys))
    assert alone.keys() == lines.keys() and {line["base"] for line in alone.values()} == {None}
    assert all(alone[key]["model"] == lines[key]["model"] for key in lines)

    assert evaluate(asked(tmp_path / "out", tasks="add", base=str(run.path)), UNHEARD, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "add@3" in shown and "maximum" not in shown and "difference" in shown


def test_what_was_found_is_shown_also_where_it_cannot_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained_run(tmp_path / "run", SKILLED, tasks=TASKS)
    (run.path / "evaluations").write_text("")  # in the way, as a full or read-only disk is
    with pytest.raises(OSError, match="evaluations"):
        evaluate(asked(run.path), UNHEARD, as_json=True)
    assert told(capsys)["complete"]


def test_a_checkpoint_that_its_run_gave_up_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained_run(tmp_path / "run", SKILLED, tasks=TASKS)
    found = contenders(asked(run.path))
    shutil.rmtree(run.path / "checkpoints")
    monkeypatch.setattr("node.evaluation.command.contenders", lambda options: found)
    with pytest.raises(CheckpointError, match="is gone: the run went on meanwhile"):
        evaluate(asked(run.path), UNHEARD, as_json=True)


def test_an_adapter_is_judged_on_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_llama(tmp_path / "base")
    run, _ = trained_run(
        tmp_path / "run", {**text_policy(base, lora={"rank": 2}), "prompt": {"system": "Be brief."}}
    )
    export_run(run.path, tmp_path / "out")
    subject, start = contenders(asked(tmp_path / "out", base=str(base)))
    assert start is not None
    models = [contender.config.model_dump()["policy"]["model"] for contender in (subject, start)]
    assert [model["path"] for model in models] == [str(base), str(base)]
    assert [model["adapter"] for model in models] == [str(tmp_path / "out"), None]
    prompts = [contender.config.model_dump()["policy"]["prompt"] for contender in (subject, start)]
    assert [prompt["system"] for prompt in prompts] == ["Be brief.", "Be brief."]
    assert evaluate(asked(tmp_path / "out", problems=1, base=str(base), show=1), UNHEARD, as_json=False) == 0
    assert "right:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ks": "1,x"}, "whole numbers"),
        ({"ks": "0"}, "whole numbers"),
        ({"ks": "1,16"}, "--rollouts 16"),
        ({"tasks": "digits"}, "asks for images"),
        ({}, "name tasks"),
        ({"round": 3}, "no rounds"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_any_model_is_loaded(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=words):
        evaluate(asked(tmp_path, **options), UNHEARD, as_json=True)


class Stopped:
    """A policy that answers one batch, and that a signal meets in the second."""

    def __init__(self, text: str, batches: int) -> None:
        self._text, self._left = text, batches

    def sample(self, requests: Any, *, stop: Any = None, held_out: bool = False) -> list[Rollout]:
        assert held_out
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return [Rollout(self._text, (), Finish.STOP) for _ in requests]


class Deaf:
    """A task whose scorer gives no verdict on problems of these seeds."""

    def __init__(self, silent: Sequence[int]) -> None:
        self._task, self._silent = build_task(TaskSpec("add")), silent
        self.name = self._task.name

    def problem(self, seed: int) -> Problem:
        return self._task.problem(seed)

    def score(self, problem: Problem, completion: str) -> float | None:
        if problem.seed - FIRST_SEED not in self._silent:
            return 1.0
        tell_unjudged("units", completion, "it raised KeyError")
        return None


@pytest.mark.parametrize("silent", [(1,), (0, 1, 2)])
def test_answers_without_a_verdict_are_left_out_and_told(
    silent: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Deaf(silent)

    def found(order: Sequence[Any], problems: Sequence[Problem], *_: Any) -> list[Answers]:
        policy: Any = Stopped("7", 99)
        return [answer(policy, problems, {task.name: task}, 4, 0, lambda done, total: None) for _ in order]

    subject, base = (
        SimpleNamespace(config=load_config("tiny"), label=name, run=None) for name in ("model", "base")
    )
    monkeypatch.setattr(command, "contenders", lambda options: (subject, base))
    monkeypatch.setattr(command, "tasks_of", lambda options, subject: [task])
    monkeypatch.setattr(command, "_answers", found)
    if len(silent) == 3:
        with pytest.raises(
            EvaluationError, match=r"no verdict on any of 3 problems, .*The first: units, on .*KeyError"
        ):
            evaluate(asked(tmp_path, tasks="add"), UNHEARD, as_json=True)
        return
    assert evaluate(asked(tmp_path, tasks="add"), UNHEARD, as_json=True) == 0
    said = capsys.readouterr()
    assert "left out: 1 of 3 problems with an answer without a verdict. The first: units, on '7'" in said.err
    assert {line["problems"] for line in json.loads(said.out)["lines"]} == {2}


def answered(text: str, batches: int, rollouts: int = 64) -> Answers:
    task = build_task(TaskSpec("add"))
    problems, progress = reserved(task, 6), []
    found = answer(
        Stopped(text, batches),  # type: ignore[arg-type]
        problems,
        {task.name: task},
        rollouts,
        0,
        lambda done, total: progress.append((done, total)),
    )
    assert progress == [(2 * n, 6) for n in range(1, min(batches, 3) + 1)]
    return found


def test_what_was_answered_before_a_signal_counts_on_the_problems_that_both_answered() -> None:
    whole, part = answered("7", 3), answered("7", 1)
    assert whole.complete and not part.complete and len(part.groups) == 2
    report = report_of(("model", "base"), part, whole, 64, [1])
    assert not report.complete and {line.problems for line in report.lines} == {2}


def test_a_long_task_name_gives_way_and_no_figure_does() -> None:
    interval = "+0.300 [+0.100, +0.500]"
    rows = [["rg:chain_sum@0.1.25-2#8e502ad7", "10", "pass@1", interval[1:], interval[1:], f"{interval} *"]]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(
            command._table(["task", "problems", "metric", "start", "round 4", "difference"], rows, 120)
        )
    (line,) = [line for line in shown.get().splitlines() if "pass@1" in line]
    assert f"{interval} *" in line and "rg:chain_sum" in line


def test_in_a_narrow_window_intervals_stand_whole_below_their_figures() -> None:
    rows = [["add@3", "10", "pass@1", "0.300 [0.100, 0.500]", "+0.300 [+0.100, +0.500] *"]]
    console = Console(width=72)
    with console.capture() as shown:
        console.print(command._table(["task", "problems", "metric", "start", "difference"], rows, 72))
    figures, intervals = shown.get().splitlines()[3:5]
    assert figures.split() == ["add@3", "10", "pass@1", "0.300", "+0.300"]
    assert intervals.split() == ["[0.100,", "0.500]", "[+0.100,", "+0.500]", "*"]


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", interrupts.ASKING)
def test_a_signal_before_any_answer_is_named(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> list[Answers]:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        return []

    subject = SimpleNamespace(config=load_config("tiny"), label="model")
    monkeypatch.setattr(command, "contenders", lambda options: (subject, None))
    monkeypatch.setattr(command, "_answers", stopped)
    interrupts.raise_stopped()
    with pytest.raises(interrupts.Stopped) as ended:
        evaluate(asked(tmp_path, problems=1), UNHEARD, as_json=True)
    assert ended.value.number == number


def test_reserved_problems_are_none_that_a_run_trains_on_or_chooses_by() -> None:
    task = build_task(TaskSpec("add"))
    seeds = [problem.seed for problem in reserved(task, 5)]
    assert seeds == list(range(FIRST_SEED, FIRST_SEED + 5)) and FIRST_SEED >= HELD_OUT_SEED + 2**20
    assert [p.seed for p in interleaved([reserved(task, 2), reserved(task, 1)])] == [
        FIRST_SEED,
        FIRST_SEED,
        FIRST_SEED + 1,
    ]


class Odd:
    """A task that makes no problem of even seeds."""

    name = "odd@2"

    def problem(self, seed: int) -> Problem:
        if seed % 2 == 0:
            raise TaskError("even")
        return Problem(self.name, seed, "", "")


def test_seeds_that_give_no_problem_are_passed_over() -> None:
    assert len(reserved(Odd(), 4)) == 4  # type: ignore[arg-type]
