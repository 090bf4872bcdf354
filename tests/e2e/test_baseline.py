"""`silo_baseline = true`: a control trains beside the node, and the summary says what sharing brought."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from murmur_command import QUICK, murmur

from node.storage.events import History

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

QUIET = ["--set", 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]', "--set", "swarm.join_seconds=0"]


def test_a_run_with_a_baseline_ends_with_the_uplift_and_its_interval(tmp_path: Path) -> None:
    options = [*QUICK, *QUIET, "--set", "silo_baseline=true", "--rounds", "3", "--run-dir", "here"]
    done = murmur("run", "tiny", *options, "--json", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    own, baseline = (History(tmp_path / path / "events.sqlite") for path in ("here", "here/baseline"))
    assert told["event"] == "baseline"
    assert told["gain"] == pytest.approx(own.evaluations()[-1].reward - baseline.evaluations()[-1].reward)
    assert told["low"] <= told["gain"] <= told["high"]
    assert [event.facts for event in own.life() if event.what == "baseline"] == [
        {key: value for key, value in told.items() if key != "event"}
    ]
    # The same start, as many groups a round, nobody to hear.
    assert own.evaluations()[0] == baseline.evaluations()[0]
    assert len(baseline.rounds()) >= 3
    assert all(event.received == event.trained_external == 0 for event in baseline.rounds())
    assert not list((tmp_path / "here" / "baseline").glob("peers.txt"))
