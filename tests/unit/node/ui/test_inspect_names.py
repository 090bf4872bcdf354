"""Names that a run does not have, as filters of `murmur rollouts`: refused, with those that there are."""

from __future__ import annotations

import pytest
from kept_rollouts import PEER
from typer.testing import CliRunner

from node.cli import app
from node.storage.run_folder import RunFolder

run = CliRunner().invoke


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--verdict nonsense", "no verdict 'nonsense'; there are trained, untrained, equal_rewards"),
        ("--verdict traned", "no verdict 'traned'; did you mean 'trained'? there are trained, untrained"),
        ("--verdict stale", "no verdict 'stale'; there are trained"),
        ("--refused --verdict trained", "no verdict 'trained'; there are size, digest, decode"),
        ("--task nonsense", "no task 'nonsense'; there are maximum, shift, binary, digits"),
        ("--task maximun@3", "no task 'maximun@3'; did you mean 'maximum'? there are"),
        ("--refused --task digits", "no task 'digits'; there are maximum, shift, binary, task"),
        ("--follow --task nonsense", "no task 'nonsense'; there are"),
        ("--peer nobody", f"no peer 'nobody'; there are …{PEER[-8:]}"),
        ("--refused --peer nobody", f"no peer 'nobody'; there are …{PEER[-8:]}"),
        ("--round 9", "Round 9 was not played: the newest is 2."),
        ("--json --round 9", "Round 9 was not played: the newest is 2."),
        (
            "shw",
            "shw holds no run: name the folder that a run printed at its start; did you mean the command show?",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_there_are(
    folder: RunFolder, arguments: str, words: str
) -> None:
    result = run(app, ["rollouts", *arguments.split()])
    assert (result.exit_code, result.stdout) == (2, "") and words in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "--task shift",  # the run trains on it, and no rollout of it is kept
        "--external --verdict all_right",
        f"--peer {PEER[-8:]} --own",
        "--refused --verdict digest",
        "--follow --peer nobody --round 9",  # both may come yet
    ],
)
def test_a_known_name_of_which_nothing_is_kept_is_no_mistake(folder: RunFolder, arguments: str) -> None:
    assert run(app, ["rollouts", *arguments.split()]).exit_code == 0
