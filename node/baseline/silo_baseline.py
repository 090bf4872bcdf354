"""The silo twin: a control that trains beside a swarm node without peers, to show its owner what sharing brings.

A process of its own, an ordinary silo run in the node's run folder, from the same weights and seed. It plays as many
rounds and then goes on until it has had the node's CPU seconds.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import closing

from node.baseline.processes import NodeProcesses
from node.baseline.uplift import compare, cpu_seconds, rounds_to_even
from node.config.roles import as_silo
from node.config.schema import Config
from node.runtime.session import run_session
from node.storage.events import History, LifeEvent, Store
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView

POLL_SECONDS = 0.5


def run_with_twin(config: Config, folder: RunFolder, view: RunView, *, resumed: bool) -> None:
    """Plays a run beside its twin and tells the uplift when both are done. Raises what `run_session` raises.

    A run that is stopped stops its twin too; resumed, both go on.
    """
    with NodeProcesses() as fleet:
        process = start_twin(fleet, config, folder)
        node = run_session(config, folder, view, resumed=resumed)
        if node.round < config.rounds:
            return
        view.say("waiting for the silo twin to have had as much compute; Ctrl-C leaves it")
        if not _wait(process, view):
            return
        seconds = cpu_seconds(History(folder.events).rounds())
        if rounds := rounds_to_even(History(folder.twin.events).rounds(), seconds):
            process = _go_on(fleet, folder, rounds)
        if _wait(process, view):
            _tell(folder, config, view)


def start_twin(fleet: NodeProcesses, config: Config, folder: RunFolder) -> subprocess.Popen[bytes]:
    """Starts the twin, or what is left of it."""
    own = folder.twin
    if not own.config.exists():
        own.create(as_silo(config.model_copy(update={"twin": False, "identity": ""})))
    return _go_on(fleet, folder, config.rounds)


def _go_on(fleet: NodeProcesses, folder: RunFolder, rounds: int) -> subprocess.Popen[bytes]:
    path = folder.twin.path
    command = ["run", "--resume", "--run-dir", str(path), "--rounds", str(rounds), "--json"]
    return fleet.start(command, path)


def _wait(process: subprocess.Popen[bytes], view: RunView) -> bool:
    """Whether the process came to its end before its owner lost patience."""
    while process.poll() is None:
        if view.should_stop():
            return False
        time.sleep(POLL_SECONDS)
    return process.returncode == 0


def _tell(folder: RunFolder, config: Config, view: RunView) -> None:
    histories = History(folder.events), History(folder.twin.events)
    uplift = compare(*histories, config.evaluation.problems * len(config.tasks))
    if uplift is None:
        return
    with closing(Store(folder.events)) as store:
        store.append(LifeEvent(config.rounds, "twin", uplift.words, uplift.facts))
    if view.style == "json":
        view.say_json({"event": "twin", **uplift.facts})
    view.say(uplift.words)
