"""`murmur bootstrap` as its user meets it: private swarms, a second way in, restarts that keep invites good."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from murmur_command import murmur, start

from swarm.wire.invite import Invite

pytestmark = [pytest.mark.e2e, pytest.mark.swarm]

LOCAL = ("--set", 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]', "--json")


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[dict[str, Any]]:
    """What a bootstrap peer says when it is ready; it is stopped afterwards as Ctrl-C would."""
    process = start("bootstrap", *LOCAL, *arguments, cwd=cwd)
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and "murmur: stopped by Ctrl-C; nodes that have met go on" in rest


def test_a_private_bootstrap_is_itself_again_after_a_restart(tmp_path: Path) -> None:
    with serving("--private", "--run-dir", "first", cwd=tmp_path) as first:
        invite = Invite.decode(first["invite"])
        assert first["private"] and invite.secret
        assert (tmp_path / "first" / "member.secret").stat().st_mode & 0o777 == 0o600
        with serving("--beside", first["invite"], "--run-dir", "second", cwd=tmp_path) as second:
            beside = Invite.decode(second["invite"])
            assert (beside.manifest, beside.secret) == (invite.manifest, invite.secret)
            assert beside.bootstrap == (*second["addresses"], *first["addresses"])
        told = murmur("doctor", first["invite"], "--json", cwd=tmp_path)
        findings = {finding["name"]: finding for finding in json.loads(told.stdout)}
        assert findings["reach"]["state"] == "ok", findings["reach"]
        assert told.returncode == 0
    with serving("--run-dir", "first", cwd=tmp_path) as again:
        assert again["invite"] == first["invite"]


def test_a_folder_keeps_its_swarm_whatever_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[[tasks]]\nname = "sort"\n[policy]\ntype = "embedded"\n')
    with serving("--run-dir", "hub", cwd=tmp_path) as first:
        pass
    other = ("bootstrap", "--config", "mine.toml", "--private", "--run-dir", "hub")
    refused = murmur(*other, cwd=tmp_path)
    assert refused.returncode == 2 and "hub holds another swarm" in refused.stderr
    assert not (tmp_path / "hub" / "member.secret").exists()
    with serving("--run-dir", "hub", cwd=tmp_path) as again:
        assert again["invite"] == first["invite"]


def test_an_invite_without_its_secret_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with serving("--private", "--run-dir", "hub", cwd=tmp_path) as ready:
        address = ready["addresses"][0]
        key = Invite.decode(ready["invite"]).manifest.member_key.hex()
        failed = murmur(
            "join", address, "--set", "swarm.type=dht", "--set", f"swarm.member_key={key}", cwd=tmp_path
        )
    assert failed.returncode == 2 and "whole invite" in failed.stderr
    refused = murmur("bootstrap", "--private", "--beside", ready["invite"], cwd=tmp_path)
    assert refused.returncode == 2 and "--private founds a swarm" in refused.stderr
    assert subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout == b""
