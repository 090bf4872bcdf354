"""The early end of a demo, by Ctrl-C: its nodes save, the table stands as it is, a last line says what is next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.baseline.processes import GRACE_SECONDS, NodeProcesses
from node.demo.status import DemoNode, read_status, watch
from node.demo.view import DemoView
from node.storage.checkpoint import Checkpoints
from node.storage.run_folder import RunFolder
from node.ui.invocation import murmur


def end_early(processes: NodeProcesses, members: Sequence[DemoNode], view: DemoView, number: int) -> None:
    """Lets every node end its round and save after a signal, and shows how far they came."""
    view.begin_early_end(number)
    processes.ask_to_stop()
    watch(members, view.show, GRACE_SECONDS)
    view.conclude_early([read_status(member) for member in members])


def saved(demo: Path) -> str:
    """What the nodes in the folder of a demo saved, and what to do with it."""
    nodes = [RunFolder(path) for path in demo.glob("swarm-*")]
    rounds = {node.path: Checkpoints(node.checkpoints, 1).newest() for node in nodes}
    kept = sorted((newest, str(path)) for path, newest in rounds.items() if newest is not None)
    if not kept:
        return f"no node saved a round; begin again with: {murmur('demo')}"
    (first, _), (last, furthest) = kept[0], kept[-1]
    at = f"round {last}" if first == last else f"rounds {first} to {last}"
    return (
        f"{len(kept)} of {len(nodes)} nodes saved, at {at}; go on with one: "
        f"{murmur('run', '--resume', '--run-dir', furthest)}; look at it: {murmur('dashboard', furthest)}"
    )
