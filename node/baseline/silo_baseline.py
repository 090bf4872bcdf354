"""The silo baseline: a control that trains beside a swarm node without peers, to show its owner what sharing brings.

A process of its own, an ordinary silo run in the node's run folder, from the same weights and seed. It plays as many
rounds and then goes on until it has had the node's CPU seconds.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import closing

from node.baseline.equal_compute import even_out, go_on
from node.baseline.processes import NodeProcesses
from node.baseline.uplift import answers_of, compare
from node.config.roles import as_silo
from node.config.schema import Config
from node.config.sections.metrics import MetricsConfig
from node.config.sections.tracking import TrackingConfig
from node.runtime.session import run_session, tell_next_steps
from node.storage.events import History, LifeEvent, Store
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView

POLL_SECONDS = 0.5


def run_with_baseline(config: Config, folder: RunFolder, view: RunView, *, resumed: bool) -> None:
    """Plays a run beside its baseline and tells the uplift when both are done. Raises what `run_session` raises.

    A run that is stopped stops its baseline too; resumed, both go on.
    """
    with NodeProcesses() as processes:
        process = start_baseline(processes, config, folder)
        node = run_session(config, folder, view, resumed=resumed, then_baseline=True)
        if node.round < config.rounds:
            return
        view.say(
            "now its silo baseline, until it has had as much compute: the comparison comes then; Ctrl-C leaves it"
        )
        view.patience.begin("waiting for the silo baseline")
        with view:
            ended = _wait(process, view)
            if ended:
                process = even_out(processes, folder, folder.baseline) or process
                ended = _wait(process, view)
        # Below the table, which stands from here on.
        if ended:
            _tell(folder, config, view)
        tell_next_steps(config, folder, view)


def start_baseline(processes: NodeProcesses, config: Config, folder: RunFolder) -> subprocess.Popen[bytes]:
    """Starts the baseline, or what is left of it."""
    own = folder.baseline
    if not own.config.exists():
        # The node has the port of its metrics, and its tracker's project would show the baseline as another node.
        apart = {
            "silo_baseline": False,
            "identity": "",
            "metrics": MetricsConfig(),
            "tracking": TrackingConfig(),
        }
        own.create(as_silo(config.model_copy(update=apart)))
    return go_on(processes, own, config.rounds)


def _wait(process: subprocess.Popen[bytes], view: RunView) -> bool:
    """Whether the process came to its end before its owner lost patience."""
    while process.poll() is None:
        if view.should_stop():
            return False
        time.sleep(POLL_SECONDS)
    return process.returncode == 0


def _tell(folder: RunFolder, config: Config, view: RunView) -> None:
    histories = History(folder.events), History(folder.baseline.events)
    uplift = compare(*histories, answers_of(config))
    if uplift is None:
        return
    with closing(Store(folder.events)) as store:
        store.append(LifeEvent(config.rounds, "baseline", uplift.summary, uplift.as_dict))
    if view.style == "json":
        view.say_json({"event": "baseline", **uplift.as_dict})
    view.say(uplift.summary)
