"""A node that nobody looks after is watched over HTTP, and comes back by the line of systemd's unit that started it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from murmur_command import QUICK, ROOT, start

from node.storage.events import History

pytestmark = pytest.mark.e2e
PATIENCE = 120.0  # seconds


def line_of_the_unit(plays: Sequence[str], state: str) -> list[str]:
    """What systemd runs behind `murmur`: its variable made into words, its folder of states filled in."""
    unit = (ROOT / "packaging" / "systemd" / "murmur@.service").read_text()
    (command,) = re.findall(r"^ExecStart=/opt/murmur/bin/murmur (.*)$", unit, re.M)
    words = [word.replace("%S", state).replace("%i", "home") for word in command.split()]
    return [*plays, *words[1:]] if words[0] == "$MURMUR_PLAYS" else words


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_live_run_is_watched_killed_and_comes_back_by_the_same_line(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is an extra")
    plays = ("silo", "tiny", "--rounds", "100000", *QUICK)
    plays = (*plays, "--set", "metrics.listen=127.0.0.1:0", "--set", "checkpoint.every=1")
    line, run = line_of_the_unit(plays, "state"), tmp_path / "state" / "murmur" / "home"
    process = start(*line, cwd=tmp_path)
    history = History(run / "events.sqlite")
    try:
        wait_for(lambda: len(history.rounds()) > 2, process)
        (told,) = [event.note for event in history.life() if event.what == "report"]
        urls = re.findall(r"http://\S+/\w+", told)
        pages = {url.rpartition("/")[2]: urllib.request.urlopen(url, timeout=30).read() for url in urls}
        families = {f.name: f for f in parser.text_string_to_metric_families(pages["metrics"].decode())}
        assert families["murmur_round"].samples[0].value >= 2
        assert families["murmur_cpu_seconds"].samples[0].value > 0
        assert json.loads(pages["health"])["status"] == "ok"
    finally:
        process.kill()
    before = json.loads((run / "tracking" / "rounds.jsonl").read_text().splitlines()[1])
    process.communicate()
    process = start(*line, cwd=tmp_path)
    try:
        wait_for(lambda: any(event.what == "resumed" for event in history.life()), process)
        resumed = next(event for event in history.life() if event.what == "resumed")
        wait_for(lambda: len(history.rounds()) > resumed.round, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()
    kept = (run / "tracking" / "rounds.jsonl").read_text().splitlines()
    rounds = [line for line in map(json.loads, kept) if "reward" in line]
    assert resumed.round >= 1 and rounds[0] == before
    assert [line["round"] for line in rounds] == list(range(1, rounds[-1]["round"] + 1))
