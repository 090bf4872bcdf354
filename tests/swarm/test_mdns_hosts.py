"""mDNS between two hosts: network namespaces with a cable between them, which the test makes itself."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from needs_libp2p import needs_libp2p

from swarm.discovery.mdns_client import MdnsClient
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address

pytestmark = [
    pytest.mark.swarm,
    needs_libp2p,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="namespaces need root and iproute2"
    ),
]

PATIENCE = 60.0  # seconds that a loaded machine may take for anything here
SWARM = "0123456789abcdef" * 2


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """The names of two namespaces, 10.77.0.1 and 10.77.0.2."""
    tag = secrets.token_hex(3)
    names = f"murmur-{tag}-a", f"murmur-{tag}-b"
    with ExitStack() as stack:
        for name in names:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        ends = f"va{tag}", f"vb{tag}"
        ip(
            "link",
            "add",
            ends[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            ends[1],
            "netns",
            names[1],
        )
        for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            for link in ("lo", end):
                ip("-n", name, "link", "set", link, "up")
        yield names


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MdnsClient]]:
    """Starts neighbours whose process lives in a namespace."""
    python = sys.executable
    with ExitStack() as stack:

        def started(host: str, swarm: str, *listening: str) -> MdnsClient:
            inside = tmp_path / host
            inside.write_text(f'#!/bin/sh\nexec ip netns exec {host} {python} "$@"\n')
            inside.chmod(0o700)
            monkeypatch.setattr(sys, "executable", str(inside))
            return stack.enter_context(closing(MdnsClient(swarm, [Address.parse(a) for a in listening])))

        yield started


def test_neighbours_of_one_swarm_find_each_other(
    hosts: tuple[str, str], start: Callable[..., MdnsClient]
) -> None:
    alice, bob, carol = (Identity.ephemeral().peer_id for _ in range(3))
    here, there = f"/ip4/10.77.0.1/tcp/4001/p2p/{alice}", f"/ip4/10.77.0.2/tcp/4001/p2p/{bob}"
    first, second = start(hosts[0], SWARM, here), start(hosts[1], SWARM, there)
    foreign = start(hosts[1], "f" * 32, f"/ip4/10.77.0.2/tcp/4002/p2p/{carol}")
    silent = start(hosts[0], SWARM)
    deadline = time.monotonic() + PATIENCE
    while not (first.found and second.found and len(silent.found) == 2):
        assert time.monotonic() < deadline, (first.found, second.found, silent.found)
        assert first.running and second.running and silent.running
        time.sleep(0.1)
    assert [str(a) for a in first.found] == [there]
    assert [str(a) for a in second.found] == [here]
    assert {str(a) for a in silent.found} == {here, there}
    assert foreign.found == ()


NODE = """
import sys, time
from contextlib import suppress
from pathlib import Path
from policies.tasks.task import TaskSpec
from swarm.errors import FetchFailed
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest
from swarm.wire.announcement import Summary, TaskSummary

key, address = sys.argv[1:]
settings = DhtSettings(Manifest("lab", (TaskSpec("sort"),)), listen=(f"/ip4/{address}/tcp/0",), lan=True)
transport = DhtTransport(settings, Path(key))
transport.wait_ready(60)
own = transport.publish(address.encode(), Summary(1, 2, "tiny", 1, 8, (TaskSummary("sort@1", 8, 0.5),)))
while True:
    for found in transport.announcements(8):
        with suppress(FetchFailed):  # asked again in a second
            print(transport.fetch(found).decode(), flush=True)
    transport.publish(address.encode(), own.summary)
    time.sleep(1)
"""


def test_two_nodes_of_one_cable_need_no_bootstrap(hosts: tuple[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        outputs = []
        for number, host in enumerate(hosts, start=1):
            inside = [
                "ip",
                "netns",
                "exec",
                host,
                sys.executable,
                "-c",
                NODE,
                tmp_path / host,
                f"10.77.0.{number}",
            ]
            process = stack.enter_context(subprocess.Popen(inside, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout
            outputs.append(process.stdout)
        assert [output.readline() for output in outputs] == ["10.77.0.2\n", "10.77.0.1\n"]
