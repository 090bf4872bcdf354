"""Without py-libp2p everything else works, and whoever misses it reads the command that brings it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from announcing import MANIFEST
from rich.console import Console

from node.config.schema import Config
from node.failures import exit_code
from node.runtime import transports
from node.ui.peers import show_peers
from swarm import extras
from swarm.errors import ExtraMissing
from swarm.extras import install_command, missing_libp2p, require_libp2p
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

ROOT = Path(__file__).parents[3]
INVITE = Invite(MANIFEST, (f"/ip4/192.0.2.1/tcp/4001/p2p/{Identity(bytes(32)).peer_id}",))


@pytest.fixture
def without_libp2p(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "MODULES", ("libp2p_that_is_not_installed",))


def test_the_command_names_an_extra_that_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any("libp2p" in text for text in project["dependencies"])
    assert "observer" in project["optional-dependencies"] and "[observer]" in install_command()


@pytest.mark.usefixtures("without_libp2p")
def test_a_look_at_a_swarm_names_the_command_and_ends_as_a_fault_of_the_machine() -> None:
    with pytest.raises(ExtraMissing, match="py-libp2p cannot be loaded") as told:
        show_peers(INVITE.encode(), None, watch=False, as_json=False)
    assert install_command() in str(told.value) and exit_code(told.value) == 3


@pytest.mark.usefixtures("without_libp2p")
def test_lan_discovery_that_cannot_be_is_told_where_it_was_asked_for() -> None:
    def config(**swarm: object) -> Config:
        return Config.model_validate({"swarm": {"type": "dht", **swarm}, "tasks": [{"name": "sort"}]})

    notice = transports.lan_notice(config(lan=True))
    assert notice is not None and "LAN discovery is off" in notice and install_command() in notice
    assert transports.lan_notice(config(lan=False)) is None


def test_what_is_installed_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "MODULES", ("json", "msgpack"))
    require_libp2p()


def test_the_mdns_process_says_what_is_missing() -> None:
    script = "import sys\nsys.modules['libp2p'] = None\nfrom swarm.discovery.mdns import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script], input='["abcdef", []]\n', capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert install_command() in done.stderr


def test_the_sentence_fits_on_few_lines_of_a_terminal() -> None:
    with (console := Console(width=100)).capture() as shown:
        console.print(missing_libp2p())
    assert len(shown.get().splitlines()) <= 5
