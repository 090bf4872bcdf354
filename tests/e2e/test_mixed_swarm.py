"""Nodes that draw and nodes that write in one swarm, on real daemons: each takes what it can use."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from murmur_command import start

from node.storage.events import History

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

ROUNDS = 20
TASKS = 'tasks=[{name="maximum"},{name="shift"},{name="digits"}]'
LOCAL = ("--set", 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]')
PLAIN = (
    "--set",
    "swarm.poll_seconds=1.0",
    "--set",
    "threads=1",
    "--set",
    "evaluation.problems=8",
    "--rounds",
    str(ROUNDS),
    "--json",
)
KINDS = {"digits": 3, "tiny": 2}  # preset: nodes


@pytest.mark.timeout(900)
def test_three_nodes_that_draw_and_two_that_write_share_one_swarm(tmp_path: Path) -> None:
    hub = start("bootstrap", *LOCAL, "--set", TASKS, "--run-dir", "hub", "--json", cwd=tmp_path)
    assert hub.stdout
    invite = json.loads(hub.stdout.readline())["invite"]
    nodes: dict[str, subprocess.Popen[str]] = {}
    for preset, count in KINDS.items():
        for number in range(count):
            name = f"{preset}-{number}"
            seed = ("--set", f"seed={number}", "--run-dir", name)
            nodes[name] = start("join", invite, "--config", preset, *LOCAL, *PLAIN, *seed, cwd=tmp_path)
    try:
        for name, node in nodes.items():
            output, _ = node.communicate(timeout=800)
            assert node.returncode == 0, f"{name}: {output}"
    finally:
        for process in (*nodes.values(), hub):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
    for name in nodes:
        rounds = History(tmp_path / name / "events.sqlite").rounds()
        own = {"digits@1"} if name.startswith("digits") else {"maximum@3", "shift@3"}
        assert len(rounds) == ROUNDS
        assert {task for event in rounds for task in event.rewards_by_task} <= own
        assert sum(event.trained_external for event in rounds) > 0, name
        assert not any(event.refused for event in rounds), name
