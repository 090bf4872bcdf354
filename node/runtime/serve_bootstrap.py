"""`murmur bootstrap`: a peer that publishes nothing and that others join through.

Its run folder gives it the same PeerID, port, swarm and secret after a restart: invites stay good. A folder that
served one swarm serves no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from node.config.roles import as_swarm_node, invite_in, manifest_of
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import DhtConfig
from node.rows.kept import keep_shared, sharing_notices
from node.runtime.transports import NO_ADDRESS, build_transport, lan_notice, last_invite, on_last_ports
from node.storage.claim import Undo
from node.storage.log_file import bound_logs, log_to_file
from node.storage.run_folder import Keeping, RunFolder, RunFolderError, write_atomic
from node.ui import interrupts
from node.ui.invocation import murmur
from node.ui.patience import Patience
from node.ui.run_view import new_console
from node.ui.terminal.window import say_lines
from swarm.errors import InviteError, TransportDown, TransportError
from swarm.limits import MAX_LIFETIME
from swarm.network.ipc import STARTING
from swarm.transport.base import Transport
from swarm.visible_text import counted
from swarm.wire.invite import MAX_BOOTSTRAP, Invite
from swarm.wire.membership import member_key, new_secret
from swarm.wire.multiaddr import parse_known

HEARTBEAT_SECONDS = 30.0
SILENT_BEATS = 9  # at most without a line: one each five minutes, so that the invite stays in sight
START_SECONDS = 240.0  # more, for the first sign of life of a daemon on a machine that has too much to do
SERVED = Keeping(
    files=("invite.txt", "identity.key", "logs"),
    meanwhile="while a bootstrap served from it",
    moved="with the key that its invites lead to: start it again with that --run-dir",
    lost="the key that its invites lead to is lost: start a bootstrap anew, and pass the new invite on",
    emptied="of the key that its invites lead to as well: start a bootstrap anew, and pass the new invite on",
)
READ = 8  # bodies that announcements are wanted for: a few reads, in a swarm of any size


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a bootstrap was asked to serve."""

    config: Config
    run_dir: Path
    beside: str | None = None  # the invite of a swarm that exists, to be one more way into it
    private: bool = False  # a swarm that only holders of the invite can read
    names_swarm: bool = True  # False: nothing said which swarm, so that a folder's own is served again
    again: tuple[str, ...] = ()  # words of the command that starts it again, beside the run folder


def serve_bootstrap(asked: Bootstrap, *, as_json: bool) -> None:
    """Runs until SIGINT or SIGTERM. The invite is printed and kept in the run folder.

    Raises ConfigError, IdentityError, InviteError, RunFolderError for a folder with a run or that served another swarm,
    TransportDown when the daemon does not come up or has no address, and FolderLostError where the folder is taken
    away meanwhile.
    """
    with _held(RunFolder(asked.run_dir)) as folder:
        last = last_invite(folder)
        config = swarm_to_serve(asked, folder, last)
        config = on_last_ports(config, last)
        keep_shared(config)
        if (loss := lost_key(config, folder, last)) and not as_json:
            say_lines(loss)
        with closing(build_transport(config, folder)) as transport:
            log_to_file(folder.logs)
            patience = Patience(lambda line: None if as_json else say_lines(line))
            with patience.watching("starting the p2p daemon"):
                _wait_ready(transport)
            addresses = transport.status().addresses
            if not addresses:
                raise TransportDown(NO_ADDRESS)
            ways = dict.fromkeys((*addresses, *_dht(config).bootstrap, *other_ways(last)))
            invite = Invite(manifest_of(config), tuple(ways)[:MAX_BOOTSTRAP], folder.read_secret())
            folder.check_place()
            write_atomic(folder.invite, invite.encode() + "\n", mode=0o600)
            stop = interrupts.StopRequest()
            _greet(invite, addresses, as_json=as_json)
            for line in [] if as_json else sharing_notices(config):
                say_lines(line)
            if (notice := lan_notice(config)) and not as_json:
                say_lines(notice)
            beats = Heartbeats(folder.invite)
            while not stop.wait(HEARTBEAT_SECONDS):
                folder.check_place()
                bound_logs(folder.path, folder.logs)
                if not as_json and (line := beats.line(transport)):
                    say_lines(line)
        again = command_again(asked, folder, private=bool(invite.secret))
        stop.tell(f"nodes that have met go on, others join through here again after: {again}")


def command_again(asked: Bootstrap, folder: RunFolder, *, private: bool) -> str:
    """The command that serves the same swarm again. It says `--private` of such a one, lest it seem to open it."""
    told = private and "--beside" not in asked.again
    return murmur("bootstrap", *asked.again, *["--private"] * told, "--run-dir", folder.path)


def _wait_ready(transport: Transport) -> None:
    """A daemon that only takes long is waited for: without it there is nothing to serve. Raises TransportDown."""
    try:
        transport.wait_ready()
    except TransportDown:
        if transport.status().detail != STARTING:
            raise
        transport.wait_ready(START_SECONDS)


def other_ways(last: Invite | None) -> list[str]:
    """Addresses of the last invite that lead to other bootstraps of its swarm: behind its own, which came first."""
    if last is None:
        return []
    own = {address.peer for address in parse_known(last.bootstrap[:1])}
    return [way for way in last.bootstrap if not own & {address.peer for address in parse_known([way])}]


def lost_key(config: Config, folder: RunFolder, last: Invite | None) -> str:
    """What to tell where a folder that has served lost its key, before a new one is made; otherwise empty."""
    key = folder.identity(config)
    if last is None or key.exists():
        return ""
    return (
        f"{key} was gone: peers know this bootstrap under another name now, and invites of before lead here no more; "
        "put the file back, or pass the new invite on"
    )


@dataclass(slots=True)
class Heartbeats:
    """What a bootstrap says of itself: each change, and a sign of life now and then, with where its invite is."""

    invite: Path
    told: dict[str, str] = field(default_factory=dict)
    last: str = ""
    silent: int = 0  # beats since the last line

    def line(self, transport: Transport) -> str:
        """Empty where there is nothing new."""
        said = standing(transport, self.told)
        if said == self.last and self.silent < SILENT_BEATS:
            self.silent += 1
            return ""
        self.last, _, warnings = said.partition("\n")
        self.silent = 0
        return "\n".join(filter(None, (f"{self.last}; the invite is in {self.invite}", warnings)))


def standing(transport: Transport, told: dict[str, str]) -> str:
    """The swarm in one line, and one for each warning that is not the one of its kind that was `told` the last time.

    A bootstrap fetches nothing: announcements are read for this.
    """
    with suppress(TransportError):
        transport.announcements(READ)
    status = transport.status()
    health = "healthy" if status.healthy else f"not healthy: {status.detail}"
    seen = status.peers_seen
    new = [words for kind, words in status.warnings.items() if told.get(kind) != words]
    told.clear()
    told.update(status.warnings)
    return "\n".join(
        [
            f"{health}; {counted(seen, 'peer')} announced in the last {MAX_LIFETIME / 60:.0f} minutes",
            *new,
        ]
    )


@contextmanager
def _held(folder: RunFolder) -> Iterator[RunFolder]:
    """The folder, made and locked; what this start made of it goes again if it never came to an invite."""
    folder.refuse_demo()
    if folder.config.exists():
        raise RunFolderError(f"{folder.path} already holds a run: choose another --run-dir")
    undo = Undo(folder, lambda made: made.invite.exists())
    interrupts.on_leaving(lambda: "", lambda _: undo())
    try:
        folder.logs.mkdir(parents=True, exist_ok=True)
        with folder.held(SERVED) as held:
            undo.arm(held.place)
            yield held
    finally:
        undo()


def swarm_to_serve(asked: Bootstrap, folder: RunFolder, last: Invite | None) -> Config:
    """The config with the swarm to serve; keeps the secret of a private one in the folder.

    `last` is the invite that the folder served before. Raises RunFolderError where it is another swarm's.
    """
    config, secret = _swarm_of(asked, folder, last)
    if last is not None and last.manifest.swarm_id != manifest_of(config).swarm_id:
        kind = "a private swarm" if last.secret else "a swarm"
        tasks = ", ".join(task.name for task in last.manifest.tasks)
        raise RunFolderError(
            f"{folder.path} holds another swarm, and everybody with its invite would lose it: {kind} named "
            f"{last.manifest.name!r}, of {tasks}. Choose another --run-dir, or serve that one: "
            f"{murmur('bootstrap', *['--private'] * bool(last.secret), '--run-dir', folder.path)}"
        )
    if secret:
        folder.keep_secret(secret)
    return config


def _swarm_of(asked: Bootstrap, folder: RunFolder, last: Invite | None) -> tuple[Config, bytes]:
    """The config of the swarm that was asked for, and the secret of a private one."""
    config = asked.config
    if asked.beside is not None:
        if asked.private:
            raise ConfigError("--private founds a swarm; the one of --beside is private or not already")
        invite = invite_in([asked.beside])
        if invite is None:
            raise InviteError("--beside takes an invite, as murmur bootstrap prints it")
        return as_swarm_node(config, [asked.beside]), invite.secret
    if not isinstance(config.swarm, DhtConfig):
        config = config.model_copy(update={"swarm": DhtConfig()})
    secret = folder.read_secret()
    if last is not None and not asked.names_swarm and (last.secret or not asked.private):
        return _as_before(config, last), secret or last.secret
    if asked.private and not secret:
        secret = new_secret()
    if not secret or _dht(config).member_key:
        return config, secret
    return _with_swarm(config, member_key=member_key(secret).hex()), secret


def _as_before(config: Config, last: Invite) -> Config:
    """The swarm of the last invite; peers are those that the config names, and those of the folder's peer cache."""
    ways = _dht(config).bootstrap
    try:
        return _with_swarm(as_swarm_node(config, [last.encode()]), bootstrap=ways)
    except ConfigError as error:
        raise ConfigError(
            f"the swarm that was served from this run folder needs the config that founded it, by --config: {error}"
        ) from error


def _greet(invite: Invite, addresses: tuple[str, ...], *, as_json: bool) -> None:
    text = invite.encode()
    if as_json:
        ready = {"event": "ready", "invite": text, "addresses": addresses, "private": bool(invite.secret)}
        new_console().out(json.dumps(ready), highlight=False)
        return
    if invite.secret:
        say_lines("private swarm: whoever has this invite can take part, so pass it on with care")
    say_lines(f"serving; others join with:\n  {murmur('join', text)}")


def _with_swarm(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"swarm": config.swarm.model_copy(update=changes)})


def _dht(config: Config) -> DhtConfig:
    assert isinstance(config.swarm, DhtConfig)
    return config.swarm
