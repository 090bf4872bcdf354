"""`murmur join NAME --resume` and `--resume-or-start`: a saved run goes on, whatever the server of the name says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from command_line import murmur
from named_invites import https_words

from node import start
from node.config.reading import load_config
from node.config.roles import as_swarm_node, manifest_of
from node.config.schema import Config
from node.storage.events import LifeEvent, Store
from node.storage.run_folder import RunFolder
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

WAY = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity.ephemeral().peer_id}"


@pytest.mark.parametrize("option", ["--resume", "--resume-or-start"])
@pytest.mark.parametrize("server", ["down", "no HTTP"])
def test_a_saved_run_goes_on_whatever_the_server_of_its_name_says(
    option: str,
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    played: list[tuple[Path, bool]] = []

    def play(config: Config, folder: RunFolder, *, resumed: bool, as_json: bool) -> None:
        played.append((folder.path, resumed))
        with closing(Store(folder.events)) as store:
            store.append(LifeEvent(0, "started"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_play", play)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    manifest = manifest_of(as_swarm_node(load_config("tiny", ["tasks=[{name='sort'}]"]), [WAY]))
    invite = Invite(manifest, (WAY,), b"").encode()
    assert murmur(monkeypatch, capsys, "join", invite, "--run-dir", "kept").code == 0
    with https_words(tmp_path, {"/": [b"HELLO\n"]}, pause=0) as (address, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        name = f"{address}/#{manifest.swarm_id}"
        line = ("join", name, option, "--run-dir", "kept")
        told = murmur(monkeypatch, capsys, *line)
    if server == "down":
        told = murmur(monkeypatch, capsys, *line)
    assert told.code == 0 and played[-1] == (Path("kept"), True)
    assert told.err.count("\n") == 1  # nothing of a config that differs: none could be made to compare
    assert "cannot be reached" in told.err and "the run goes on with the peers that it knows" in told.err
