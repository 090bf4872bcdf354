"""`murmur bootstrap`: a peer that publishes nothing and that others join through."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import closing
from pathlib import Path

from node.config import Config, DhtConfig
from node.logfile import log_to_file
from node.members import manifest_of
from node.network import build_transport
from node.runfolder import RunFolder, write_atomic
from node.show import new_console
from swarm.manifest import Invite

INVITE = "invite.txt"
HEARTBEAT_SECONDS = 30.0


def serve_bootstrap(config: Config, run_dir: Path, *, as_json: bool) -> None:
    """Runs until SIGINT or SIGTERM. The invite is printed and kept in the run folder.

    The key file in the folder gives the peer the same PeerID after a restart; a fixed port in `swarm.listen`
    then keeps old invites good. Raises IdentityError, TransportDown when the daemon does not come up.
    """
    if not isinstance(config.swarm, DhtConfig):
        config = config.model_copy(update={"swarm": DhtConfig()})
    folder = RunFolder(run_dir)
    folder.logs.mkdir(parents=True, exist_ok=True)
    console = new_console()
    with closing(folder.lock()), closing(build_transport(config, folder)) as transport:
        log_to_file(folder.logs)
        transport.wait_ready()
        addresses = transport.status().addresses
        invite = Invite(manifest_of(config), addresses).encode()
        write_atomic(run_dir / INVITE, invite + "\n")
        if as_json:
            console.out(
                json.dumps({"event": "ready", "invite": invite, "addresses": addresses}), highlight=False
            )
        else:
            console.print("serving; others join with:")
            console.out(f"  murmur join {invite}", highlight=False)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(HEARTBEAT_SECONDS):
            status = transport.status()
            if not as_json:
                standing = "healthy" if status.healthy else f"not healthy: {status.detail}"
                console.print(f"{standing}; {status.peers_seen} peers announced")
