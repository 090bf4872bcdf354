"""`murmur simulate`: its options, and what scripts rely on."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from node import cli
from node.ui import interrupts
from node.ui.simulation import outcome_json
from swarm import simulation
from swarm.simulation import Interrupted, Progress, Scenario, SimulationResult, simulate

SMALL = ("--nodes", "12", "--rounds", "1")


def murmur(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `murmur simulate ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["murmur", "simulate", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_json_is_one_object_and_progress_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, *SMALL, "--partition", "70:100", "--seed", "3", "--json") == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == "12 nodes, 8 DHT servers, 1 shards"
    assert told.out.count("\n") == 1
    outcome = json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert outcome["scenario"]["partition"] == {"start": 70.0, "end": 100.0}
    assert outcome["scenario"]["seed"] == 3 and outcome["scenario"]["bodies"] == 4
    assert outcome["node_rounds"] > 0 and outcome["trained_twice"] == 0
    assert 0 <= outcome["uniformity_p"] <= 1


def test_every_option_reaches_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Scenario] = []

    def stand_in(scenario: Scenario, progress: Progress) -> SimulationResult:
        asked.append(scenario)
        return simulate(Scenario(nodes=2, rounds=1, warm_up=0), lambda line: None)

    monkeypatch.setattr(simulation, "simulate", stand_in)
    options = ["--nodes=9", "--rounds=3", "--bodies=2", "--body-size=5000", "--latency=10", "--loss=0.1"]
    options += ["--churn=0.2", "--servers=0.5", "--shard-depth=1", "--seed=4"]
    assert murmur(monkeypatch, *options) == 0
    assert asked == [
        Scenario(9, 3, 2, 5000, latency=10.0, loss=0.1, churn=0.2, servers=0.5, shard_depth=1, seed=4)
    ]


def test_a_person_sees_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert murmur(monkeypatch, *SMALL, "--partition", "70:100") == 0
    told = capsys.readouterr().out
    for figure in (
        "announcements",
        "DHT keys read",
        "chi-square",
        "dispersion",
        "hottest over mean",
        "trained twice",
        "recovered after",
    ):
        assert figure in told


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        (("--nodes", "1"), "murmur: --nodes 1: give 2 to 100000\n"),
        (("--body-size", "99999999"), "murmur: --body-size 99999999: give 1 to 4194304 bytes\n"),
        (("--seed", "-1"), "murmur: --seed -1: give 0 to 9223372036854775807\n"),
        (("--loss", "1"), "murmur: --loss 1: give 0 to 0.9\n"),
        (("--partition", "soon"), "murmur: --partition 'soon': give START:END in seconds, as in 120:240\n"),
    ],
)
def test_bad_options_exit_2_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], fix: str
) -> None:
    assert murmur(monkeypatch, *options) == 2
    assert capsys.readouterr().err == fix


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", interrupts.ASKING)
def test_a_signal_prints_what_is_there(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = simulate(Scenario(nodes=2, rounds=1, warm_up=0), lambda line: None)

    def stopped(scenario: Scenario, progress: Progress) -> SimulationResult:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise Interrupted(begun) from None
        pytest.fail("the signal did not come through")

    monkeypatch.setattr(simulation, "simulate", stopped)
    assert murmur(monkeypatch, "--json") == 128 + number
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(outcome_json(begun)))
