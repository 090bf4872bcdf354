"""Real daemons among peers that are odd: of the same key, with a clock that is off, of another program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from policies.tasks.task import TaskSpec
from swarm.errors import TransportDown
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Summary, TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

pytestmark = pytest.mark.swarm

MANIFEST = Manifest("odd", (TaskSpec("sort"),))
SUMMARY = Summary(1, 2, "tiny", 1, 8, (TaskSummary("sort@1", 8, 0.5),))
PATIENCE = 60.0  # seconds that a loaded machine may take for anything here
ODD = Path(__file__).parent / "odd_node.py"


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


def start(stack: ExitStack, key: Path, bootstrap: tuple[str, ...] = ()) -> DhtTransport:
    settings = DhtSettings(MANIFEST, bootstrap, log=key.with_suffix(".log"))
    return stack.enter_context(closing(DhtTransport(settings, key)))


@contextmanager
def odd(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, ODD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()


def heard(process: subprocess.Popen[str]) -> list[object]:
    assert process.stdout
    said: list[object] = json.loads(process.stdout.readline())
    return said


def test_one_key_on_two_machines_is_told_to_both(tmp_path: Path) -> None:
    with ExitStack() as stack:
        meeting = start(stack, tmp_path / "meeting.key")
        meeting.wait_ready()
        for name in ("one", "other"):
            Identity(b"k" * 32).save(tmp_path / f"{name}.key")
        twins = [
            start(stack, tmp_path / f"{name}.key", meeting.status().addresses) for name in ("one", "other")
        ]
        for twin in twins:
            twin.wait_ready()
        rounds = 0

        def both_know() -> bool:
            nonlocal rounds
            for number, twin in enumerate(twins):
                rounds += 1
                try:
                    twin.publish(f"body {rounds} of {number}".encode(), SUMMARY)
                    twin.announcements(8)
                except TransportDown:
                    continue
            return all("same key" in twin.status().warnings for twin in twins)

        until(both_know, "both nodes of one key say so")
        assert all(twin.status().counters["key_elsewhere"] > 0 for twin in twins)
        assert "Stop one of them" in twins[0].status().warnings["same key"]
        assert "same key" not in meeting.status().warnings


def test_a_clock_that_is_off_is_named_with_the_difference(tmp_path: Path) -> None:
    with odd("clock", "25") as other, ExitStack() as stack:
        late = start(stack, tmp_path / "late.key", (str(heard(other)[0]),))
        until(lambda: "clock" in late.status().warnings, "the clock is named")
        with pytest.raises(
            TransportDown, match=r"this machine's clock is 2[45]\.[0-9] s behind that of the peer"
        ):
            late.wait_ready(0.5)


def test_a_clock_that_is_a_little_off_is_measured(tmp_path: Path) -> None:
    with odd("clock", "2") as other, ExitStack() as stack:
        node = start(stack, tmp_path / "node.key", (str(heard(other)[0]),))
        node.wait_ready()
        until(lambda: node.status().clock_offset is not None, "the other's clock")
        assert node.status().clock_offset == pytest.approx(2.0, abs=0.9)
        assert node.status().warnings == {}


def test_another_program_in_the_dht_is_counted_told_and_left(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = start(stack, tmp_path / "node.key")
        node.wait_ready()
        with odd("foreign", node.status().addresses[0], "40") as other:
            answered, known = heard(other)
            assert 2 <= answered <= 3 and not known  # 256 kB of refused values, and no more
            until(lambda: node.status().counters.get("foreign_peers_left"), "the intruder is left")
            [(peer, values)] = node.status().refused_values.items()
            assert 2 <= values <= 3 and node.status().counters["foreign_values"] == values
            assert node.status().healthy and peer
