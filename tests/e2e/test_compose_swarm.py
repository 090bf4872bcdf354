"""The three services of the compose file, as plain processes by its own commands: a swarm, a kill of each, and back.

In place of the engine this test does what its `restart: unless-stopped` does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from murmur_command import ENVIRONMENT, MURMUR, ROOT

from node.storage.events import History

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra dev")
pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

DOCKER = ROOT / "packaging" / "docker"
NODES = ("first", "second")
PATIENCE = 400.0  # seconds for what takes a few on an idle machine


class Service:
    """One service of the compose file, started again whenever it ends."""

    def __init__(self, words: list[str], folder: Path, name: str, environment: dict[str, str]) -> None:
        self.starts = 0
        self._words, self._folder, self._environment = words, folder, environment
        self.output = folder / f"{name}.txt"
        self._ending = threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """The process and all it started, as the engine's `kill` does to a container."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> int:
        """As the engine's `stop` does: SIGTERM to the process itself. Returns its exit code."""
        self._ending.set()
        self._thread.join()
        self.process.terminate()
        try:
            return self.process.wait(120)
        finally:
            with suppress(ProcessLookupError):
                self.kill()
            self.process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self.output.open("ab") as output:
            return subprocess.Popen(
                self._words,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _supervise(self) -> None:
        while not self._ending.wait(0.5):
            if self.process.poll() is not None:
                with suppress(ProcessLookupError):
                    self.kill()  # what is left of the container
                self.process = self._start()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def command_of(service: dict[str, Any], ports: dict[str, int]) -> list[str]:
    """What the engine runs: entry point and command, with compose's variables filled in."""
    words = [*service["entrypoint"], *service["command"]]
    filled = [re.sub(r"\$\{(\w+):-\d+\}", lambda found: str(ports[found[1]]), word) for word in words]
    return [word.replace("$$", "$") for word in filled]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[dict[str, Service]]:
    shutil.copy(DOCKER / "swarm.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    murmur = tmp_path / "bin" / "murmur"
    murmur.write_text("#!/bin/sh\nexec " + " ".join(MURMUR) + ' "$@"\n')
    murmur.chmod(0o755)
    environment = ENVIRONMENT | {"PATH": f"{murmur.parent}{os.pathsep}{os.environ['PATH']}"}
    ports = {name: free_port() for name in ("MURMUR_PORT", "FIRST_METRICS", "SECOND_METRICS")}
    composed = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    running: dict[str, Service] = {}
    try:
        for name in ("second", "first", "bootstrap"):  # in whatever order the engine starts them
            running[name] = Service(command_of(composed[name], ports), tmp_path, name, environment)
        yield running
    finally:
        for service in running.values():
            if service.process.poll() is None:
                service.end()


@pytest.mark.timeout(3000)
def test_it_is_a_swarm_that_survives_a_kill_of_each_and_comes_back(
    services: dict[str, Service], tmp_path: Path
) -> None:
    histories = {name: History(tmp_path / name / "events.sqlite") for name in NODES}

    def trained(name: str) -> int:
        return sum(event.trained_external for event in histories[name].rounds())

    def resumed(name: str) -> list[str]:
        return [event.note for event in histories[name].life() if event.what == "resumed"]

    def wait_for(what: Callable[[], bool], say: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            told = "\n".join(service.output.read_text()[-1500:] for service in services.values())
            assert time.monotonic() < deadline, f"{say}\n{told}"
            time.sleep(0.5)

    def more_from_peers(name: str) -> None:
        before = trained(name)
        wait_for(lambda: trained(name) > before, f"{name} trains on no more of its peer")

    for name in NODES:
        more_from_peers(name)
    invite = (tmp_path / "bootstrap" / "invite.txt").read_text()

    services["bootstrap"].kill()
    for name in NODES:
        more_from_peers(name)
    wait_for(lambda: services["bootstrap"].output.read_text().count("serving;") == 2, "no bootstrap again")
    assert (tmp_path / "bootstrap" / "invite.txt").read_text() == invite

    for killed, other in (NODES, NODES[::-1]):
        rounds = len(histories[other].rounds())
        services[killed].kill()
        wait_for(
            lambda other=other, rounds=rounds: len(histories[other].rounds()) > rounds, f"{other} stopped"
        )  # type: ignore[misc]
        wait_for(lambda killed=killed: len(resumed(killed)) == 1, f"{killed} did not come back")  # type: ignore[misc]
        more_from_peers(killed)
        more_from_peers(other)

    assert {name: service.starts for name, service in services.items()} == dict.fromkeys(services, 2)
    assert [services[name].end() for name in (*NODES, "bootstrap")] == [0, 0, 0]
    for name in NODES:
        assert histories[name].life()[-1].what == "stopped"
