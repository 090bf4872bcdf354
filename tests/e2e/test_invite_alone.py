"""Own questions among three people: one has the file, one has the invite and nothing else, one has another file."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from murmur_command import murmur, start

from node.storage.events import History

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

WORDS = ["".join(letters) for letters in itertools.islice(itertools.permutations("hgfedcba", 3), 200)]
ROWS = [json.dumps({"word": word, "backwards": word[::-1]}) + "\n" for word in WORDS]
TASK = """
[[tasks]]
name = "data:words"
path = "words.jsonl"
share = true
prompt = "reverse {word}"
answer = "{backwards}"
verifier = [{ name = "exact", weight = 0.5 }, { name = "regex", pattern = "^[a-d]", weight = 0.5 }]
"""
# Half of each update is external. The policy knows the letters and hardly the task, and learns slowly: rewards differ
# within groups, on both sides, for as long as it takes to meet.
NODE = """
rounds = 100000
threads = 1
policy.type = "embedded"
policy.trainer.learning_rate = 1e-5
policy.generation.max_new_tokens = 6
policy.warm_start = { steps = 30, size = "small", skills = { reverse = 0.5 } }
sampler = { local = 2, external = 2 }
swarm = { type = "dht", listen = ["/ip4/127.0.0.1/tcp/0"], poll_seconds = 0.5 }
evaluation.problems = 0
"""
PATIENCE = 300.0  # to load libraries alone takes minutes where many others work


class Person:
    """A folder with a config, a file of rows where there is one, and a cache in which nobody else's rows lie."""

    def __init__(self, folder: Path, rows: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.folder, self.run = folder, folder / "run"
        self.environment = {"XDG_CACHE_HOME": str(folder / "cache")}
        (folder / "own.toml").write_text(NODE + (TASK if rows else '[[tasks]]\nname = "sort"\n'))
        if rows:
            (folder / "words.jsonl").write_text("".join(rows))

    def starts(self, *words: str) -> subprocess.Popen[str]:
        return start(*words, cwd=self.folder, environment=self.environment)

    def tries(self, *words: str) -> str:
        """What a command says that ends with code 2."""
        done = murmur(*words, cwd=self.folder, environment=self.environment)
        assert done.returncode == 2, done
        return " ".join(done.stderr.split())

    def history(self) -> History:
        return History(self.run / "events.sqlite")

    def peer(self) -> str | None:
        return next((event.facts["peer"] for event in self.history().life() if "peer" in event.facts), None)

    def trained_on(self, other: Person) -> bool:
        return other.peer() in {group.peer for group in self.history().external()}


@contextmanager
def nodes_of(*people: Person) -> Iterator[dict[Person, subprocess.Popen[str]]]:
    """What they start, ended when the block is left."""
    nodes: dict[Person, subprocess.Popen[str]] = {}
    try:
        yield nodes
    finally:
        for node in nodes.values():
            node.send_signal(signal.SIGINT)
        for node in nodes.values():
            node.communicate(timeout=60)


def until(found: Callable[[], object], nodes: dict[Person, subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        ended = [node.communicate()[0] for node in nodes.values() if node.poll() is not None]
        assert not ended and time.monotonic() < deadline, ended or "too late"
        time.sleep(0.2)


@pytest.mark.timeout(1200)
def test_an_invite_brings_the_rows_to_who_agrees_and_says_which_digest_differs(tmp_path: Path) -> None:
    ann, ben = Person(tmp_path / "ann", ROWS), Person(tmp_path / "ben")
    cleo = Person(tmp_path / "cleo", [ROWS[0].replace("fgh", "fgg"), *ROWS[1:]])
    with nodes_of(ann, ben) as nodes:
        nodes[ann] = ann.starts("run", "own.toml", "--run-dir", "run")
        until((ann.run / "invite.txt").exists, nodes)
        invite = (ann.run / "invite.txt").read_text().strip()
        join = ("join", invite, "--config", "own.toml", "--run-dir", "run")

        assert "data:words: 200 rows" in (refused := ben.tries(*join)) and "add --accept-data" in refused
        nodes[ben] = ben.starts(*join, "--accept-data")

        told = cleo.tries(*join)
        until(lambda: ann.trained_on(ben) and ben.trained_on(ann), nodes)
    (name,) = ann.history().rounds()[0].rewards_by_task
    assert {task for event in ben.history().rounds() for task in event.rewards_by_task} == {name}
    assert not [event.refused for person in (ann, ben) for event in person.history().peers() if event.refused]

    digest = name.partition("@")[2].partition(".")[0]
    assert f"the rows of {cleo.folder / 'words.jsonl'} (digest here " in told
    assert f" of 200 rows, there {digest} of 200 rows)" in told and "verifier" not in told
    assert not cleo.run.exists() and list((ben.folder / "cache").glob("murmuration/rows/*.jsonl"))
