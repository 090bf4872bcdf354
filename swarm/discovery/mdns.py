"""The mDNS process announces this node on the local network and finds others, by libp2p's mDNS.

`python -m swarm.discovery.mdns` runs by itself, because libp2p and hivemind cannot be imported together. Its orders
are one line on stdin (`swarm.discovery.mdns_client.orders`); it prints `[peer, [multiaddr...]]` for each peer that it
hears of and ends with stdin. Its last line on stderr says why it ended earlier.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from typing import TYPE_CHECKING

from policies.error_words import brief
from swarm.extras import missing_libp2p
from swarm.limits import MAX_ADDRESSES
from swarm.process import die_with_parent
from swarm.wire.multiaddr import Address

if TYPE_CHECKING:
    from libp2p.discovery.mdns import PeerBroadcaster
    from libp2p.peer.peerinfo import PeerInfo
    from zeroconf import Zeroconf

_MAX_PEERS = 1024  # heard of in one life: whoever floods the network is not passed on for ever


def service_type(swarm: str) -> str:
    """The name that the nodes of one swarm share; mDNS allows it 15 characters."""
    return f"_p2p-{swarm[:10]}._udp.local."


class PeerReporter:
    """Prints who is heard of, from whichever thread hears it."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def report(self, info: PeerInfo) -> None:
        line = json.dumps([str(info.peer_id), [str(a) for a in info.addrs[:MAX_ADDRESSES]]])
        with self._lock:
            if line not in self._said and len(self._said) < _MAX_PEERS:
                self._said.add(line)
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


def run(swarm: str, listening: list[str]) -> None:
    """Until stdin ends. Raises OSError without a network to speak mDNS on, ImportError without py-libp2p."""
    from libp2p.discovery.events.peerDiscovery import peerDiscovery
    from libp2p.discovery.mdns import PeerListener
    from libp2p.peer.peerstore import PeerStore
    from zeroconf import Zeroconf

    peerDiscovery.register_peer_discovered_handler(PeerReporter().report)
    kind = service_type(swarm)
    name = f"{secrets.token_hex(16)}.{kind}"
    zeroconf = Zeroconf()
    listener = PeerListener(PeerStore(), zeroconf, kind, name)
    broadcaster = _broadcaster(zeroconf, kind, name, listening)
    try:
        sys.stdin.read()
    finally:
        if broadcaster:
            broadcaster.unregister()
        listener.stop()
        zeroconf.close()


def _broadcaster(zeroconf: Zeroconf, kind: str, name: str, listening: list[str]) -> PeerBroadcaster | None:
    """None for a node that can only listen."""
    if not listening:
        return None
    from libp2p.discovery.mdns import PeerBroadcaster

    first = Address.parse(listening[0])
    broadcaster = PeerBroadcaster(zeroconf, kind, name, first.peer, first.port, listen_addrs=listening)
    broadcaster.register()
    return broadcaster


def main() -> None:
    die_with_parent()
    try:
        run(*json.loads(sys.stdin.readline()))
    except ImportError as error:
        sys.exit(missing_libp2p(str(error)))
    except OSError as error:
        sys.exit(f"this machine has no network to speak mDNS on ({brief(error)})")


if __name__ == "__main__":
    main()
