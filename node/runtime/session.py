"""A run from its start or its last checkpoint to its end: lock the folder, build, resume, play, close."""

from __future__ import annotations

from contextlib import ExitStack, closing

from node.config.schema import Config
from node.config.swarm import DhtConfig
from node.runtime.build import build_node
from node.runtime.loop import Node, resume, run
from node.runtime.transports import build_transport
from node.storage.events import LifeEvent
from node.storage.log_file import log_to_file
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView
from swarm.errors import TransportDown
from swarm.transport.base import Transport


def run_session(config: Config, folder: RunFolder, view: RunView, *, resumed: bool) -> Node:
    """Plays a run, or the rest of it, to its end or to Ctrl-C. The folder exists and holds the config.

    Raises what `build_node`, `resume` and `run` raise; the transport and store are closed either way.
    """
    with ExitStack() as stack:
        stack.enter_context(closing(folder.lock()))
        log_to_file(folder.logs)
        # The transport joins while the policy loads.
        transport = stack.enter_context(closing(build_transport(config, folder)))
        node = build_node(config, folder, transport, view.progress)
        stack.enter_context(closing(node.store))
        again = resume(node) if resumed else 0
        _report_start(node, view, resumed=resumed, again=again)
        _join(node, transport, view)
        node.gossip.start()
        stack.enter_context(closing(node.gossip))
        stack.enter_context(view)
        run(node, view)
        _report_end(node, folder, view)
    return node


def _join(node: Node, transport: Transport, view: RunView) -> None:
    """Gives the transport some time to join, so that the first rounds are not played alone; says how it went."""
    if not isinstance(node.config.swarm, DhtConfig):
        return
    try:
        transport.wait_ready(node.config.swarm.join_seconds)
        note = f"joined swarm {node.verifier.swarm} as {node.verifier.peer}"
    except TransportDown as error:
        note = f"{error}; going on alone until it answers"
    node.store.append(LifeEvent(node.round, "joined", note))
    view.say(note)


def _report_start(node: Node, view: RunView, *, resumed: bool, again: int) -> None:
    if resumed:
        unsaved = f", {again} unsaved rounds are played again" if again else ""
        note = f"resumed after round {node.round}{unsaved}"
    else:
        note = f"started: {node.policy.fingerprint}, {len(node.tasks)} tasks"
    what = "resumed" if resumed else "started"
    node.store.append(LifeEvent(node.round, what, note, {"peer": node.verifier.peer}))
    view.say(note)


def _report_end(node: Node, folder: RunFolder, view: RunView) -> None:
    done = node.round >= node.config.rounds
    if missing := node.notices.at_end():
        view.say(missing)
    note = f"finished {node.round} rounds" if done else f"stopped and saved after round {node.round}"
    node.store.append(LifeEvent(node.round, "finished" if done else "stopped", note))
    view.say(note if done else f"{note}; go on with: murmur run --resume --run-dir {folder.path}")
