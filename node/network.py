"""Which transport a config means, and how eagerly its node exchanges. Loads neither torch nor hivemind."""

from __future__ import annotations

from node.config import Config, DhtConfig
from node.members import manifest_of
from node.runfolder import RunFolder
from policies.tasks.task import TaskSpec
from swarm.control import DhtSettings
from swarm.dht import DhtTransport
from swarm.gossip import GossipSettings
from swarm.manifest import Manifest
from swarm.silo import SiloTransport
from swarm.transport import Transport

# Rounds' worth of external groups in the pool at which fetching rests: more would only grow old.
ENOUGH_ROUNDS = 8


def build_transport(config: Config, folder: RunFolder) -> Transport:
    """The transport of a node; a real one starts joining in the background. Raises IdentityError, InviteError."""
    swarm = config.swarm
    if not isinstance(swarm, DhtConfig):
        return SiloTransport()
    settings = DhtSettings(
        manifest=manifest_of(config),
        bootstrap=swarm.bootstrap,
        listen=swarm.listen,
        announce=swarm.announce,
        client_mode=swarm.client_mode,
        log=folder.logs / "transport.log",
    )
    return DhtTransport(settings, folder.identity(config))


def lone_transport() -> DhtTransport:
    """A daemon in a swarm of its own on loopback, to see whether daemons start here at all."""
    return DhtTransport(DhtSettings(Manifest("doctor", (TaskSpec("none"),))))


def gossip_settings(config: Config) -> GossipSettings:
    """How eagerly this node exchanges, from how much it trains on."""
    if not isinstance(config.swarm, DhtConfig):
        return GossipSettings(want=0)
    external = config.sampler.external
    return GossipSettings(
        interval=config.swarm.poll_seconds,
        want=max(8, 3 * external),
        enough=max(16, ENOUGH_ROUNDS * external),
    )
