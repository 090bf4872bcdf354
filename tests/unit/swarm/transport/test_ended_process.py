"""A transport whose process cannot start says what that process said."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from policies.tasks.task import TaskSpec
from swarm.errors import TransportDown
from swarm.transport import ipc_client
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "echo 'Traceback' >&2\necho 'OSError: \033[31mToo many open files' >&2\nexit 1",
            "OSError: .*Too many open files",
        ),
        ("kill -9 $$", "signal 9 ended it"),
        ("exit 3", "exit status 3"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_the_reason_is_told_and_its_log_named(
    script: str,
    words: str,
    kept: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(ipc_client, "sys", SimpleNamespace(executable=str(program)))
    log = tmp_path / "transport.log" if kept else None
    if log:
        log.write_text("what an earlier process said\n")
    with closing(DhtTransport(DhtSettings(Manifest("none", (TaskSpec("sort"),)), log=log))) as transport:
        with pytest.raises(TransportDown, match=f"the transport process ended: {words}") as raised:
            transport.wait_ready(600.0)  # which nobody waits for whose process ends again and again
        assert "\033" not in str(raised.value)
    assert ("transport.log" in caplog.text) == kept
