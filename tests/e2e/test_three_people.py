"""Three people follow the README at once: nobody repeats another's work, nobody is refused, everybody is counted."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from murmur_command import murmur, start

from node.runtime.serve_bootstrap import HEARTBEAT_SECONDS
from node.storage.events import History

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

ROUNDS = 12
PEOPLE = ("ann", "ben", "cleo")
LOCAL = ("--set", 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]')
COUNTED = re.compile(r"healthy; (\d+) peers? announced")


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bootstrap peer and three nodes that ran to their end, each in a folder of its own, with default seeds."""
    folder = tmp_path_factory.mktemp("afternoon")
    bootstrap = start("bootstrap", "--config", "tiny", *LOCAL, cwd=folder)
    invite = folder / "runs" / "bootstrap" / "invite.txt"
    nodes: dict[str, subprocess.Popen[str]] = {}
    try:
        deadline = time.monotonic() + 90
        while not invite.exists():
            assert bootstrap.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        for name in PEOPLE:
            (folder / name).mkdir()
            words = ("join", invite.read_text().strip(), "--config", "tiny", "--rounds", str(ROUNDS), *LOCAL)
            nodes[name] = start(*words, cwd=folder / name)
        for name, node in nodes.items():
            output, _ = node.communicate(timeout=600)
            (folder / name / "console").write_text(output)
            assert node.returncode == 0, f"{name}: {output}"
        # What was announced lives on, and the bootstrap peer counts it: at its second look, where the first one asks
        # those who are leaving, until its time is over.
        time.sleep(2 * HEARTBEAT_SECONDS + 10)
    finally:
        for process in (*nodes.values(), bootstrap):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        output, _ = bootstrap.communicate(timeout=60)
        (folder / "console").write_text(output)
    yield folder


def history(afternoon: Path, name: str) -> History:
    return History(afternoon / name / "runs" / "join-1" / "events.sqlite")


def peer_ids(afternoon: Path) -> dict[str, str]:
    return {name: history(afternoon, name).life()[0].facts["peer"] for name in PEOPLE}


@pytest.mark.timeout(900)
def test_no_two_nodes_meet_one_problem_but_to_try_again_what_nobody_solved(afternoon: Path) -> None:
    for one, other in itertools.combinations(PEOPLE, 2):
        met, also = (
            {(p.task, p.seed): p for p in history(afternoon, name).problems()} for name in (one, other)
        )
        assert len(met) >= ROUNDS
        for place in met.keys() & also.keys():
            first = min(met[place], also[place], key=lambda problem: problem.round)
            assert first.reward == 0.0, (one, other, place)
    seeds = [
        json.loads((afternoon / n / "runs" / "join-1" / "config.json").read_text())["seed"] for n in PEOPLE
    ]
    assert len(set(seeds)) == len(PEOPLE)


def test_nobody_honest_is_refused_and_few_texts_are_known(afternoon: Path) -> None:
    for name in PEOPLE:
        rounds, peers = history(afternoon, name).rounds(), history(afternoon, name).peers()
        assert len(rounds) == ROUNDS
        assert sum(event.trained_external for event in rounds) > 0
        assert [event.refused for event in rounds if event.refused] == []
        assert [event.refused for event in peers if event.refused] == []
        left_out = sum((Counter(event.left_out) for event in peers), Counter[str]())
        received = 8 * sum(event.received for event in peers)  # rollouts
        assert set(left_out) <= {"known"} and left_out["known"] <= received / 20, (name, left_out, received)


def test_everybody_is_counted(afternoon: Path) -> None:
    counts = [int(count) for count in COUNTED.findall((afternoon / "console").read_text())]
    assert counts and max(counts) == len(PEOPLE)
    ids = peer_ids(afternoon)
    for name in PEOPLE:
        told = murmur("peers", "--run-dir", "runs/join-1", "--json", cwd=afternoon / name)
        rows = {row["peer"]: row for row in json.loads(told.stdout)}
        assert set(rows) == set(ids.values()) - {ids[name]}
        assert all(row["received"] > 0 for row in rows.values())
        assert sum(row["trained_on"] for row in rows.values()) == sum(
            event.trained_external for event in history(afternoon, name).rounds()
        )


def test_the_consoles_say_what_happened_and_nothing_else(afternoon: Path) -> None:
    for name in PEOPLE:
        console = (afternoon / name / "console").read_text()
        assert "joined swarm 'murmuration'" in console and f"finished {ROUNDS} rounds" in console
        for odd in ("Traceback", "same problems", "same key", "clock"):
            assert odd not in console, console
