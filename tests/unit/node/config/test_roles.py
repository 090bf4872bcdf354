"""Silo and member configs: same compute, the invite's tasks, readable refusals."""

from __future__ import annotations

import pytest

from node.config.roles import as_silo, as_swarm_node, manifest_of
from node.config.schema import Config, ConfigError, parse_config
from node.config.sections.swarm import DhtConfig
from swarm.errors import InviteError
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity(bytes(32)).peer_id}"


def config(**sections: object) -> Config:
    return parse_config({"tasks": [{"name": "sort", "weight": 2.0}, {"name": "reverse"}]} | sections)


def test_silo_trains_on_as_many_groups_all_of_them_own() -> None:
    silo = as_silo(config(sampler={"local": 3, "external": 5}, swarm={"type": "dht"}))
    assert (silo.sampler.local, silo.sampler.external, silo.swarm.type) == (8, 0, "silo")
    with pytest.raises(ConfigError, match="a silo has no manifest"):
        manifest_of(silo)


def test_member_takes_the_tasks_of_the_invite_and_keeps_its_weights() -> None:
    founder = config(swarm={"type": "dht", "name": "pond", "epoch_seconds": 30.0})
    invite = Invite(manifest_of(founder), (ADDRESS,))
    joined = as_swarm_node(parse_config({"tasks": [{"name": "sort", "weight": 5.0}]}), [invite.encode()])
    assert [(task.name, task.weight) for task in joined.tasks] == [("sort", 5.0), ("reverse", 1.0)]
    assert isinstance(joined.swarm, DhtConfig) and joined.swarm.bootstrap == (ADDRESS,)
    assert manifest_of(joined).swarm_id == manifest_of(founder).swarm_id


def test_member_by_multiaddr_keeps_its_tasks() -> None:
    joined = as_swarm_node(config(), [ADDRESS])
    assert joined.tasks == config().tasks
    assert isinstance(joined.swarm, DhtConfig) and joined.swarm.bootstrap == (ADDRESS,)


@pytest.mark.parametrize(("local", "external", "expected"), [(8, 0, (4, 4)), (1, 0, (1, 1)), (6, 2, (6, 2))])
def test_member_trains_on_peers(local: int, external: int, expected: tuple[int, int]) -> None:
    swarm = {"type": "dht"} if external else {"type": "silo"}
    joined = as_swarm_node(config(sampler={"local": local, "external": external}, swarm=swarm), [ADDRESS])
    assert (joined.sampler.local, joined.sampler.external) == expected


@pytest.mark.parametrize("address", ["nonsense", "/ip4/1.2.3.4/tcp/4001", "murmur2:%%%"])
def test_bad_addresses_are_told(address: str) -> None:
    with pytest.raises(InviteError):
        as_swarm_node(config(), [address])
    with pytest.raises(InviteError):
        as_swarm_node(config(), [address, ADDRESS])


def test_an_invite_alone_switches_no_sandbox_on() -> None:
    task = {"name": "rg:sudoku", "params": {"sandbox": True}}
    founder = config(tasks=[task], swarm={"type": "dht"})
    invite = Invite(manifest_of(founder), (ADDRESS,)).encode()
    with pytest.raises(ConfigError, match=r"rg:sudoku are scored in the sandbox.*trust.sandbox=true"):
        as_swarm_node(config(), [invite])
    for willing in (config(trust={"sandbox": True}), config(tasks=[task])):
        assert [t.name for t in as_swarm_node(willing, [invite]).tasks] == ["rg:sudoku"]
