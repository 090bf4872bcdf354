"""Names of tasks without their digests, in tables and lines, where that leaves no doubt."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from kept_rollouts import make_run, rollout
from sample_events import ROUND
from typer.testing import CliRunner

from node.cli import app
from node.storage.events import Store
from node.storage.rollout_rows import RoundRollouts, ScoredGroup
from node.ui.run_view import _by_task
from node.ui.short_names import digests_left_out, short_tasks
from policies.rollout import Group, Problem

WORDS = "data:words@e1fd0123456789ab.0011223344556677"
SUMS = "rg:chain_sum@0.1.25-2#8e502ad7"


def test_digests_are_left_out_where_no_other_name_begins_alike() -> None:
    other = WORDS.replace("@e", "@f")
    assert short_tasks([WORDS, SUMS, "sort@3"]) == {
        WORDS: "data:words",
        SUMS: "rg:chain_sum",
        "sort@3": "sort@3",
    }
    assert short_tasks([WORDS, other, WORDS]) == {WORDS: WORDS, other: other}
    assert digests_left_out(short_tasks([SUMS])) and not digests_left_out(
        short_tasks(["sort@3", WORDS, other])
    )
    assert _by_task({WORDS: 0.5}) == "data:words 0.50"


def test_tables_say_that_digests_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run(Path("runs/swim-1"))
    with closing(Store(folder.events, 10**7)) as store:
        group = Group(Problem(WORDS, 1, "q", "a"), (rollout("a", 1.0),))
        event = replace(ROUND, round=3, rewards_by_task={WORDS: 1.0})
        store.append(event, rollouts=RoundRollouts(3, [ScoredGroup(group, (0.5,))]))
    for verb in (["rollouts"], ["stats"]):
        shown = " ".join(CliRunner().invoke(app, verb).stdout.split())
        assert "data:words " in shown and WORDS not in shown and "the digests behind its @" in shown
    assert WORDS in CliRunner().invoke(app, ["rollouts", "--json"]).stdout
    assert "1 that fit" in CliRunner().invoke(app, ["rollouts", "--task", "data:words"]).stdout


def test_the_digests_of_a_name_that_is_shown_whole_are_explained() -> None:
    pytest.importorskip("reasoning_gym")
    shown = CliRunner().invoke(app, ["tasks", "show", "rg:chain_sum", "--seeds", "0"]).stdout
    assert shown.startswith("rg:chain_sum@") and "behind a # its digest" in shown
    assert "digests" not in CliRunner().invoke(app, ["tasks", "show", "sort", "--seeds", "0"]).stdout
