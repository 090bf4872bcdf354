"""A run from its start or its last checkpoint to its end: lock the folder, build, resume, play, close."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from node.config.roles import manifest_of, resuming_verb
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import DhtConfig
from node.report.reports import Reports
from node.runtime.audience import Audience
from node.runtime.build import build_node, slow_start
from node.runtime.loop import Node, resume, run
from node.runtime.transports import NO_ADDRESS, build_transport, lan_notice, last_invite, on_last_ports
from node.storage.checkpoint import CheckpointError
from node.storage.events import History, LifeEvent
from node.storage.log_file import log_to_file
from node.storage.run_folder import RunFolder, RunFolderError, write_atomic
from node.storage.store_file import StoreError
from node.ui.inspect.weights import weights_of
from node.ui.invocation import murmur
from node.ui.peer_rows import what_peers_brought
from node.ui.run_view import RunView
from node.ui.short_names import short_peer
from swarm.errors import TransportDown
from swarm.transport.base import Transport
from swarm.visible_text import counted
from swarm.wire.invite import MAX_BOOTSTRAP, Invite

NAMED_TASKS = 8  # of a run, in its first line


def run_session(
    config: Config, folder: RunFolder, view: RunView, *, resumed: bool, then_baseline: bool = False
) -> Node:
    """Plays a run, or the rest of it, to its end or to Ctrl-C. The folder holds the config and is locked by the caller.

    What to do next is told, unless a silo baseline is waited for then.
    Raises what `build_node`, `resume` and `run` raise; the transport and store are closed either way.
    """
    with ExitStack() as stack:
        stack.enter_context(loss_told_first(folder))
        folder.check_place()  # before its logs would make it anew
        log_to_file(folder.logs)
        reports = stack.enter_context(closing(Reports(config, folder)))
        # The transport joins while the policy loads.
        transport = stack.enter_context(closing(_transport(config, folder, view, resumed=resumed)))
        loading = f"loading the policy{slow_start(config)}"
        if slow_start(config):
            view.say(loading)
        view.patience.begin(loading)
        node = build_node(config, folder, transport, view.progress)
        stack.enter_context(closing(node.store))
        again = _resume(node, folder) if resumed else 0
        _report_start(node, view, resumed=resumed, again=again)
        reports.begin(node.round)
        audience = Audience(node, folder, view, reports)
        audience.tell()
        _join(node, transport, folder, view)
        # Rounds are what counts on both sides: the start of neither, of loading libraries and of joining, does.
        node.transport_cpu = transport.status().cpu_seconds
        node.gossip.start()
        stack.enter_context(closing(node.gossip))
        stack.enter_context(view)
        stack.callback(
            view.patience.begin,
            "leaving the swarm" if isinstance(config.swarm, DhtConfig) else "closing the run",
        )
        node.entered = lambda phase: view.patience.begin(f"at the {phase} of round {node.round}")
        view.wait_between_rounds(node.round)
        run(node, audience)
        reports.close()
        audience.tell()
        _report_end(node, folder, view)
        if node.round >= node.config.rounds and not then_baseline:
            tell_next_steps(node.config, folder, view)
    return node


@contextmanager
def loss_told_first(folder: RunFolder) -> Iterator[None]:
    """Errors of files that come of the folder's loss are told as that. Raises FolderLostError."""
    try:
        yield
    except (OSError, sqlite3.Error, StoreError, CheckpointError):
        folder.check_place()
        raise


def _transport(config: Config, folder: RunFolder, view: RunView, *, resumed: bool) -> Transport:
    """Of a node that goes on it listens where invites of before lead, as long as that port is free."""
    if resumed:
        try:
            return build_transport(on_last_ports(config, last_invite(folder)), folder)
        except ConfigError as error:
            view.say(f"{error}. Invites of before lead there: whoever joins from now on needs a new one")
    return build_transport(config, folder)


def _resume(node: Node, folder: RunFolder) -> int:
    """Raises CheckpointError also for a state that is JSON and yet not what a node writes."""
    try:
        return resume(node)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        checkpoints = folder.checkpoints
        raise CheckpointError(
            f"{checkpoints} holds a state that is damaged ({error}): move its newest away"
        ) from error


def _join(node: Node, transport: Transport, folder: RunFolder, view: RunView) -> None:
    """Gives the transport some time to join, so that the first rounds are not played alone; says how it went."""
    swarm = node.config.swarm
    if not isinstance(swarm, DhtConfig):
        return
    if notice := lan_notice(node.config):
        view.say(notice)
    invite, name = "", f"{swarm.name!r} ({node.verifier.swarm}) as {short_peer(node.verifier.peer)}"
    view.patience.begin("joining the swarm")
    try:
        transport.wait_ready(swarm.join_seconds)
        status = transport.status()
        alone = not (swarm.bootstrap or status.peers_seen)
        invite = _keep_invite(node.config, status.addresses, folder) if alone and status.addresses else ""
        near = "; whoever comes on the local network is found" if swarm.lan else ""
        note = f"started swarm {name}; nobody else is heard of yet{near}" if alone else f"joined swarm {name}"
        if alone and not status.addresses:
            note = f"{note}; {NO_ADDRESS}"
    except TransportDown as error:
        note = f"{error}; going on alone meanwhile"
    node.store.append(LifeEvent(node.round, "joined", note))
    view.say(note)
    if invite and view.style == "json":
        view.say_json({"event": "founded", "invite": invite})
    elif invite:
        view.say(f"others join with:\n  {murmur('join', invite)}")


def _keep_invite(config: Config, addresses: tuple[str, ...], folder: RunFolder) -> str:
    """The invite to a swarm that this node founded, in the run folder too."""
    invite = Invite(manifest_of(config), addresses[:MAX_BOOTSTRAP], folder.read_secret()).encode()
    write_atomic(folder.invite, invite + "\n", mode=0o600)
    return invite


def _report_start(node: Node, view: RunView, *, resumed: bool, again: int) -> None:
    if resumed:
        unsaved = f", and plays {counted(again, 'unsaved round')} again" if again else ""
        note = f"resumed after round {node.round}{unsaved}"
    else:
        note = f"started with policy {node.policy.fingerprint}, on {_names_of(node.config)}"
    what = "resumed" if resumed else "started"
    node.store.append(LifeEvent(node.round, what, note, {"peer": node.verifier.peer}))
    view.say(note)
    for model_note in node.policy.notes:
        event = LifeEvent(node.round, "model", model_note)
        node.store.append(event)
        view.on_notice(event)


def _names_of(config: Config) -> str:
    """The tasks of a run, the first few by name."""
    names = [task.name for task in config.tasks]
    more = f" and {len(names) - NAMED_TASKS} more" if len(names) > NAMED_TASKS else ""
    return f"{', '.join(names[:NAMED_TASKS])}{more}"


def _report_end(node: Node, folder: RunFolder, view: RunView) -> None:
    view.end_table()  # the way on is the last that is read
    done = node.round >= node.config.rounds
    if missing := what_peers_brought(History(folder.events)):
        view.say(f"{missing}. What came of each peer: {murmur('peers', folder.path)}")
    note = (
        f"finished {counted(node.round, 'round')}" if done else f"stopped and saved after round {node.round}"
    )
    node.store.append(LifeEvent(node.round, "finished" if done else "stopped", note))
    more = murmur(_verb_of(node.config, folder), "--resume", "--run-dir", folder.path)
    view.say(note if done else f"{note}; go on with: {more}")


def _verb_of(config: Config, folder: RunFolder) -> str:
    try:
        kept = folder.read_config()
    except (ConfigError, RunFolderError):  # damaged meanwhile
        kept = config
    return resuming_verb(kept, alone=not isinstance(config.swarm, DhtConfig))


def tell_next_steps(config: Config, folder: RunFolder, view: RunView) -> None:
    """The last words of a finished run."""
    view.say(next_steps(folder, in_swarm=isinstance(config.swarm, DhtConfig)))


def next_steps(folder: RunFolder, *, in_swarm: bool) -> str:
    """Where the weights of a finished run lie, and the commands that look at it and take them away: two lines."""
    weights = weights_of(folder)
    ways = [f"look at it: {murmur('stats', folder.path)}"]
    if in_swarm:
        ways.append(f"at its peers: {murmur('peers', folder.path)}")
    if weights.export:
        ways.append(f"take the weights away: {weights.export}")
    return f"its weights: {weights.newest or 'none saved'}\n{'; '.join(ways)}"
