"""The demo on its real parts: daemons, DHT and node processes, one of which is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from murmur_command import murmur, start

from node.storage.events import History, RoundEvent
from swarm.extras import has_libp2p

pytestmark = [pytest.mark.e2e, pytest.mark.swarm]

ROUNDS = 48


def pid_of(folder: Path) -> int:
    """The process that runs in a run folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"join" in words and str(folder).encode() in words:
                    return int(entry.name)
    raise AssertionError(f"no process runs in {folder}")


def rounds_in(folder: Path) -> list[RoundEvent]:
    with suppress(sqlite3.OperationalError):
        return History(folder / "events.sqlite").rounds()
    return []


def wait_until_they_share(folder: Path, demo: subprocess.Popen[str]) -> None:
    """Node 1 has trained on groups of node 2, which is well under way."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and demo.poll() is None:
        shared = any(event.trained_external for event in rounds_in(folder / "swarm-1"))
        if shared and len(rounds_in(folder / "swarm-2")) >= 4:
            return
        time.sleep(0.1)
    raise AssertionError("the nodes did not come to share")


def assert_both_nodes_are_seen(outsider: subprocess.Popen[str]) -> None:
    seen, _ = outsider.communicate(timeout=120)
    offers = json.loads(seen)  # the dead node's announcement is kept by the others until it expires
    assert {offer["policy"].split("-")[0] for offer in offers} == {"qwen2"} and len(offers) == 2
    assert all(offer["groups"] > 0 and offer["claimed_rewards"] for offer in offers)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_demo_survives_a_kill_and_the_killed_node_resumes(tmp_path: Path) -> None:
    demo = start("demo", "--nodes", "2", "--rounds", str(ROUNDS), "--run-dir", "demo", "--json", cwd=tmp_path)
    victim = tmp_path / "demo" / "swarm-2"
    wait_until_they_share(tmp_path / "demo", demo)
    invite = (tmp_path / "demo" / "bootstrap" / "invite.txt").read_text().strip()
    outsider = start("peers", invite, "--json", cwd=tmp_path) if has_libp2p() else None
    os.kill(pid_of(Path("demo/swarm-2")), signal.SIGKILL)
    if outsider:
        assert_both_nodes_are_seen(outsider)

    output, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, output

    report = json.loads([line for line in output.splitlines() if line.startswith("{")][-1])
    swarm = [node for node in report["nodes"] if node["role"] == "swarm"]
    baselines = [node for node in report["nodes"] if node["role"] == "baseline"]
    assert all(node["rounds"] >= ROUNDS for node in baselines)
    # The last rounds may take less than the mean by which their number was chosen.
    assert baselines[0]["cpu_seconds"] >= 0.9 * swarm[0]["cpu_seconds"]
    assert all(node["transport_cpu_seconds"] > 0 for node in swarm)
    assert all(node["transport_cpu_seconds"] == 0 for node in baselines)
    assert swarm[0]["rounds"] == ROUNDS and swarm[1]["rounds"] < ROUNDS
    assert swarm[0]["received"] > 0 and swarm[0]["trained_external"] > 0 and swarm[0]["published"] > 0
    assert all(node["received"] == node["trained_external"] == 0 for node in baselines)
    assert all(0 <= node["first_reward"] <= 1 for node in report["nodes"])
    assert isinstance(report["uplift"], float)

    dealt = json.loads(murmur("peers", "--run-dir", "demo/swarm-1", "--json", cwd=tmp_path).stdout)
    assert [row["peer"] for row in dealt] == [swarm[1]["peer"]]
    assert dealt[0]["received"] == swarm[0]["received"]

    before = len(rounds_in(victim))
    resumed = murmur(
        "run", "--resume", "--run-dir", str(victim), "--rounds", str(before + 2), cwd=tmp_path, timeout=200
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resumed after round" in resumed.stdout
    assert [event.round for event in rounds_in(victim)] == list(range(1, before + 3))
