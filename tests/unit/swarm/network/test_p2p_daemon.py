"""A p2p daemon that hangs while it starts, as one that is stopped: given up in time, with words, and killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from announcing import MANIFEST

from swarm.network import p2p_daemon
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import Daemon
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.identity import Identity

SETTINGS = DhtSettings(MANIFEST, start_timeout=0.2)


def test_it_is_told_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(shutil.which("sleep") or "", tmp_path / "p2pd")
    begun: list[psutil.Process] = []

    async def hangs(*_: object, **__: object) -> None:
        child = await asyncio.create_subprocess_exec(tmp_path / "p2pd", "60")
        begun.append(psutil.Process(child.pid))
        os.kill(child.pid, signal.SIGSTOP)
        await asyncio.Event().wait()

    monkeypatch.setattr(p2p_daemon._Daemon, "create", hangs)

    async def start() -> None:
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.4 s"):
            await Daemon.start(SETTINGS, tmp_path / "key", (), None)  # type: ignore[arg-type]
        while begun[0].is_running() and begun[0].status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(start(), 60))
    assert len(begun) == 1


def test_one_that_hangs_as_the_swarm_is_joined_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[object] = []

    class Hanging:
        async def stop(self) -> None:
            stopped.append(self)

    async def started(*_: Any) -> Any:
        return Hanging()

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Daemon, "start", started)
    monkeypatch.setattr(PeerSupervisor, "_join_swarm", hangs)
    Identity(b"a" * 32).save(tmp_path / "key")
    node = PeerSupervisor(SETTINGS, tmp_path / "key")
    asyncio.run(asyncio.wait_for(node._join_and_stay(fixed_port=False), 60))
    assert node.detail == "lost the network daemon: it did not answer within 0.2 s" and stopped
