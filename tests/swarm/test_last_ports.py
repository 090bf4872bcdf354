"""A founder that left its port to the system and goes on later: the invite of before still leads to it."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from node.config.roles import manifest_of
from node.config.schema import Config, ConfigError, parse_config
from node.runtime.transports import build_transport, last_invite, on_last_ports
from node.storage.run_folder import RunFolder
from swarm.wire.invite import Invite
from swarm.wire.multiaddr import Address

pytestmark = pytest.mark.swarm

PEER = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"


def founder(folder: Path, **swarm: object) -> tuple[Config, RunFolder]:
    listen = {"type": "dht", "listen": ["/ip4/127.0.0.1/tcp/0"], **swarm}
    run = RunFolder(folder / "run")
    return run.create(parse_config({"tasks": [{"name": "sort"}], "swarm": listen})), run


@pytest.mark.timeout(200)
def test_an_invite_of_before_leads_to_the_founder_that_goes_on(tmp_path: Path) -> None:
    config, folder = founder(tmp_path)
    assert last_invite(folder) is None and on_last_ports(config, None) == config
    with closing(build_transport(config, folder)) as transport:
        transport.wait_ready(90.0)
        before = transport.status().addresses
    folder.invite.write_text(Invite(manifest_of(config), before).encode() + "\n")
    again = on_last_ports(config, last_invite(folder))
    with closing(build_transport(again, folder)) as transport:
        transport.wait_ready(90.0)
        assert transport.status().addresses == before


def test_a_port_that_another_took_meanwhile_is_told(tmp_path: Path) -> None:
    config, folder = founder(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        way = Address("ip4", "127.0.0.1", port, peer=PEER)
        folder.invite.write_text(Invite(manifest_of(config), (str(way),)).encode())
        with pytest.raises(ConfigError, match=f"TCP port {port} is taken by another program"):
            build_transport(on_last_ports(config, last_invite(folder)), folder)
    folder.invite.write_text("damaged")
    assert on_last_ports(config, last_invite(folder)) == config


def test_ports_that_the_config_names_stay(tmp_path: Path) -> None:
    config, _ = founder(tmp_path, listen=["/ip4/127.0.0.1/tcp/4999"])
    invite = Invite(manifest_of(config), (f"/ip4/127.0.0.1/tcp/5/p2p/{PEER}",))
    assert on_last_ports(config, invite) == config
