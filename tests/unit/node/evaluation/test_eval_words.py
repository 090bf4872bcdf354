"""What `murmur eval` says beside its figures: of differences that may be none, and of answers that were cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.config.reading import load_config
from node.evaluation.answers import Answers
from node.evaluation.command import _tell_cut
from node.evaluation.contender import Contender
from node.evaluation.report import Line, Report
from node.evaluation.statistics import Estimate
from node.storage.run_folder import RunFolder
from policies.rollout import Finish, Group, Problem, Rollout

CLEAR, OPEN = Estimate(0.3, 0.1, 0.5), Estimate(0.1, -0.1, 0.3)
NOTHING = "includes 0: nothing is shown by so few answers, and murmur eval --problems N asks for more."


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([CLEAR], "  *: the interval of the difference excludes 0."),
        ([OPEN], f"  The interval of the difference {NOTHING}"),
        ([CLEAR, OPEN], f"  *: the interval of the difference excludes 0; without *, it {NOTHING}"),
        ([None], ""),
    ],
)
def test_an_interval_that_includes_0_is_said_to(differences: list[Estimate | None], words: str) -> None:
    lines = tuple(Line("add@3", "reward", 9, CLEAR, CLEAR if each else None, each) for each in differences)
    report = Report("model", "start", 8, lines, complete=True)
    assert report.in_words() == words and report.markdown().endswith(words or "by chance (Clopper-Pearson).")


def answers(*finishes: Finish) -> Answers:
    rollouts = tuple(Rollout("x", (), finish, 0.0) for finish in finishes)
    return Answers({("add@3", 1): Group(Problem("add@3", 1, "1+1", "2"), rollouts)}, complete=True)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            None,
            "model: 25% of the answers were cut at 12 tokens before they ended: --max-new-tokens N lets them",
        ),
        (RunFolder(Path("runs/a")), "before they ended: of a run policy.generation.max_new_tokens sets it"),
    ],
)
def test_cut_answers_are_told_with_the_setting(
    run: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    contender = Contender("model", load_config("tiny"), run)
    _tell_cut(contender, answers(Finish.LENGTH, Finish.STOP, Finish.STOP, Finish.STOP))
    assert words in capsys.readouterr().err
    _tell_cut(contender, answers(Finish.STOP))
    assert capsys.readouterr().err == ""
