"""`murmur runs`: the runs under a folder, what they do, and how far they came."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from node.config.schema import Config, ConfigError
from node.storage.events import History
from node.storage.run_folder import RunFolder, RunFolderError
from node.storage.store_file import StoreError
from node.ui.fitted_table import FittedTable
from node.ui.invocation import murmur
from node.ui.peers import format_uptime
from node.ui.run_view import WHOLE_ROWS, new_console
from node.ui.standing import standing
from node.ui.terminal.window import say_lines
from policies.error_words import brief
from swarm.visible_text import one_line, plain_json

COLUMNS = ("run", "state", "policy", "tasks", "rounds", "held-out reward", "last event")
LEAST = {"tasks": 16, "policy": 18}  # characters to which a column may be narrowed


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, as far as it can be read; `trouble` says what cannot."""

    run: str
    state: str
    policy: str = ""
    strategy: str = ""
    swarm: str = ""  # type of the swarm; silo for none
    tasks: tuple[str, ...] = ()
    round: int = 0
    rounds: int = 0
    first_held_out: float | None = None
    last_held_out: float | None = None
    written: float | None = None  # Unix seconds of the newest event
    trouble: str = ""


class _Parts(TypedDict):
    """What a run is made of, as its config says."""

    policy: str
    strategy: str
    swarm: str
    tasks: tuple[str, ...]


def show_runs(root: Path, *, as_json: bool) -> None:
    """Prints the runs under a folder, the one that was written or started last first."""
    rows = find_runs(root)
    console = new_console(WHOLE_ROWS)
    if as_json:
        return console.out(plain_json([asdict(row) for row in rows]), highlight=False)
    demos = _waited_for(root, rows)
    for demo in demos:
        say_lines(f"{demo}: a demo, none of whose nodes has begun so far")
    if not rows and demos:
        return None
    if not rows:
        return say_lines(f"no run under {root}: {murmur('run')} starts one")
    cells = [[one_line(cell) for cell in _cells(row, time.time())] for row in rows]
    fitted = FittedTable(COLUMNS, cells, console.width, LEAST, ("tasks", "policy", "last event"), fold=True)
    console.print(fitted.table())
    if fitted.remark:
        say_lines(fitted.remark)
    for row in rows:
        if row.trouble:
            say_lines(f"{row.run}: {one_line(row.trouble, 400)}")


def find_runs(root: Path) -> list[RunRow]:
    """Silo baselines and the nodes of demos are runs of their own; so is a node that only just starts."""
    folders = {file.parent for name in ("events.sqlite", "config.json") for file in root.glob(f"**/{name}")}
    found = [run for run in map(RunFolder, folders) if run.events.exists() or run.in_use()]
    rows = [(_row(run), _created(run)) for run in found]
    return [row for row, made in sorted(rows, key=lambda each: (-(each[0].written or each[1]), each[0].run))]


def _waited_for(root: Path, rows: Sequence[RunRow]) -> list[str]:
    """Demos that still make the starting weights, and those that were killed meanwhile."""
    demos = sorted(file.parent for file in root.glob("**/config.json") if RunFolder(file.parent).holds_demo)
    begun = {path for row in rows for path in Path(row.run).parents}
    return [str(demo) for demo in demos if demo not in begun]


def _created(folder: RunFolder) -> float:
    """Unix seconds of its config, which a start writes first; 0 for a folder without one."""
    try:
        return folder.config.stat().st_mtime
    except OSError:
        return 0.0


def _row(folder: RunFolder) -> RunRow:
    name = str(folder.path)
    try:
        config = folder.read_config()
        if not folder.events.exists():
            return RunRow(name, "starting", rounds=config.rounds, **_made_of(config))
        history = History(folder.events)
        rounds, evaluations = history.rounds(), history.evaluations()
        resumption = murmur("run", "--resume", "--run-dir", folder.path)
        state, _ = standing(history.life(), rounds, in_use=folder.in_use(), resumption=resumption)
        written = history.last_written()
    except (ConfigError, RunFolderError, StoreError, OSError) as error:
        return RunRow(name, "unreadable", trouble=brief(error))
    return RunRow(
        run=name,
        state=state,
        **_made_of(config),
        round=rounds[-1].round if rounds else 0,
        rounds=config.rounds,
        first_held_out=evaluations[0].reward if evaluations else None,
        last_held_out=evaluations[-1].reward if evaluations else None,
        written=written,
    )


def _made_of(config: Config) -> _Parts:
    model = getattr(config.policy, "model", None)
    policy = f"{config.policy.type} {model.path}" if model is not None else config.policy.type
    tasks = tuple(task.name for task in config.tasks)
    return {"policy": policy, "strategy": config.strategy.type, "swarm": config.swarm.type, "tasks": tasks}


def _cells(row: RunRow, now: float) -> tuple[str, ...]:
    if row.trouble:
        return (row.run, row.state, "", "", "", "", "")
    held_out = "-"
    if row.first_held_out is not None and row.last_held_out is not None:
        held_out = f"{row.first_held_out:.3f} to {row.last_held_out:.3f}"
    age = "-" if row.written is None else f"{format_uptime(max(0.0, now - row.written))} ago"
    what = f"{row.policy}, {row.strategy}, {row.swarm}"
    return (row.run, row.state, what, " ".join(row.tasks), _progress(row), held_out, age)


def _progress(row: RunRow) -> str:
    """A silo baseline plays as many CPU seconds as its node did: it finishes before the most rounds that it may."""
    return str(row.round) if row.state == "finished" else f"{row.round} of {row.rounds}"
