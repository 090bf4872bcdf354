"""What a node says of its swarm when it begins: that it is the first and how others join, or whom it joined."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ALICE

from node.config.roles import manifest_of
from node.config.schema import Config, parse_config
from node.runtime import session
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView
from swarm.errors import TransportDown
from swarm.transport.base import TransportStatus
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

WAY = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity(bytes(32)).peer_id}"
ALONE, MET = (TransportStatus(True, (WAY,), seen, {}) for seen in (0, 2))


class Joining:
    """A transport that is up, or never comes up."""

    def __init__(self, found: TransportStatus | TransportDown) -> None:
        self._found = found

    def wait_ready(self, timeout: float | None = None) -> None:
        if isinstance(self._found, TransportDown):
            raise self._found

    def status(self) -> Any:
        return self._found


def config_of(**swarm: object) -> Config:
    return parse_config({"tasks": [{"name": "sort"}], "swarm": {"type": "dht", "name": "pond", **swarm}})


def begin(folder: RunFolder, config: Config, transport: Joining, style: str = "plain") -> str:
    """What is kept of it as an event."""
    kept: list[str] = []
    node: Any = SimpleNamespace(
        config=config,
        round=0,
        verifier=SimpleNamespace(swarm="0" * 8, peer=ALICE),
        store=SimpleNamespace(append=lambda event: kept.append(event.note)),
    )
    session._join(node, transport, folder, RunView(style, "run"))  # type: ignore[arg-type]
    return kept[0]


@pytest.mark.parametrize(
    ("swarm", "found", "first"),
    [
        ({}, ALONE, True),
        ({"lan": True}, ALONE, True),  # nobody there so far, whoever may come
        ({}, MET, False),
        ({"lan": True}, MET, False),
        ({"bootstrap": [WAY]}, ALONE, False),  # whom it joined through, if nobody else
    ],
)
def test_the_first_of_a_swarm_says_so_and_how_others_join(
    swarm: dict[str, object],
    found: TransportStatus,
    first: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "lan_notice", lambda config: None)
    folder, config = RunFolder(tmp_path / "run"), config_of(**swarm)
    config = folder.create(config)
    note = begin(folder, config, Joining(found))
    told = capsys.readouterr().out
    assert note in told and "swarm 'pond'" in note
    assert note.startswith("started swarm" if first else "joined swarm")
    assert ("nobody else is heard of yet" in note) is ("others join with:" in told) is first
    assert folder.invite.exists() is first
    if first:
        invite = told.split()[-1]
        assert Invite.decode(invite) == Invite(manifest_of(config), (WAY,))
        begin(folder, config, Joining(found), "json")
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"event": "founded", "invite": invite}


def test_a_first_node_without_a_network_invites_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, config = RunFolder(tmp_path / "run"), config_of()
    note = begin(folder, folder.create(config), Joining(TransportStatus(True, (), 0, {})))
    assert note.startswith("started swarm") and "no address" in note and "swarm.announce" in note
    assert "others join with" not in capsys.readouterr().out and not folder.invite.exists()


def test_a_node_that_nobody_answers_goes_on_alone_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, config = RunFolder(tmp_path / "run"), config_of(bootstrap=[WAY])
    config = folder.create(config)
    note = begin(folder, config, Joining(TransportDown("no bootstrap peer answers")))
    assert note == "no bootstrap peer answers; going on alone meanwhile"
    assert "others join with" not in capsys.readouterr().out and not folder.invite.exists()
