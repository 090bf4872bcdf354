"""Transports and gossip settings made from a config. Loads neither torch nor hivemind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from node.config.roles import manifest_of
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import MB, DhtConfig, TrafficConfig
from node.rows.kept import handed_on
from node.storage.run_folder import RunFolder
from policies.plain_files import read_text
from policies.tasks.task import TaskSpec
from swarm.errors import InviteError, TransportDown
from swarm.exchange.body_store import ServeLimits
from swarm.extras import has_libp2p, missing_libp2p
from swarm.gossip.settings import GossipSettings
from swarm.network.ipc import DhtSettings
from swarm.transport.base import Transport
from swarm.transport.dht import DhtTransport
from swarm.transport.listen_ports import refuse_taken_ports
from swarm.transport.silo import SiloTransport
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.wire.multiaddr import Address, parse_known

NO_ADDRESS = (
    "this machine has no address, so nobody can join through it: connect it to a network, or name an address in "
    "swarm.announce"
)
# Rounds' worth of external groups in the pool at which fetching rests: more would only grow old.
ENOUGH_ROUNDS = 8


def build_transport(config: Config, folder: RunFolder) -> Transport:
    """The transport of a node; a real one starts joining in the background.

    Raises IdentityError, InviteError, and ConfigError for a port that is not to be had.
    """
    swarm = config.swarm
    if not isinstance(swarm, DhtConfig):
        return SiloTransport()
    check_ports(swarm.listen)
    settings = DhtSettings(
        manifest=manifest_of(config),
        secret=folder.read_secret(),
        bootstrap=swarm.bootstrap,
        listen=swarm.listen,
        announce=swarm.announce,
        client_mode=None if swarm.client_mode == "auto" else swarm.client_mode,
        lan=swarm.lan,
        relay=swarm.relay,
        serve=serve_limits(swarm.traffic),
        rows=handed_on(config),
        peer_cache=folder.peer_cache,
        log=folder.logs / "transport.log",
    )
    return DhtTransport(settings, folder.identity(config))


def last_invite(folder: RunFolder) -> Invite | None:
    """What the node of this folder last invited others with; None where it never did, or the file is damaged."""
    with suppress(FileNotFoundError, InviteError):
        return Invite.decode(read_text(folder.invite, encoding="ascii", errors="replace"))
    return None


def on_last_ports(config: Config, last: Invite | None) -> Config:
    """The config that listens where `last` leads, as far as it leaves ports to the system."""
    swarm = config.swarm
    if last is None or not isinstance(swarm, DhtConfig) or swarm.announce:
        return config
    ports = {a.family: a.port for a in parse_known(last.bootstrap[:1])}
    listen = [Address.parse(text) for text in swarm.listen]
    again = (a if a.port else replace(a, port=ports.get(a.family, 0)) for a in listen)
    return config.model_copy(update={"swarm": swarm.model_copy(update={"listen": tuple(map(str, again))})})


def check_ports(listen: Sequence[str]) -> None:
    """Tries every address of `listen` for a moment. Raises ConfigError that names the one that nobody can listen on.

    The daemon would fail much later, or share the port with another daemon and lose half of all connections.
    """
    try:
        refuse_taken_ports(listen)
    except (InviteError, TransportDown) as error:
        raise ConfigError(f"swarm.listen: {error}") from None


def lan_notice(config: Config) -> str | None:
    """What to tell the user where the config asks for LAN discovery and py-libp2p is missing."""
    swarm = config.swarm
    if not isinstance(swarm, DhtConfig) or not swarm.lan or has_libp2p():
        return None
    return f"LAN discovery is off, the rest goes on: {missing_libp2p()}"


def serve_limits(traffic: TrafficConfig) -> ServeLimits:
    """The config's megabytes as the transport counts them: bytes."""
    return ServeLimits(
        slots=traffic.slots,
        upload_rate=traffic.upload * MB,
        peer_rate=traffic.upload_peer * MB,
        download_rate=traffic.download * MB,
        stored=int(traffic.stored * MB),
        mirrored=int(traffic.mirrored * MB),
    )


def visitor_transport(invite: Invite) -> DhtTransport:
    """Listens as a node would, under a throw-away name, to learn whether peers can dial this machine."""
    manifest, secret = invite.manifest, invite.secret
    listen = ("/ip4/0.0.0.0/tcp/0",)
    return DhtTransport(
        DhtSettings(manifest, invite.bootstrap, listen=listen, client_mode=True, secret=secret)
    )


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
