"""Kept rows: what a node has of its swarm's shared rows, taken from others or put there to be handed on."""

from __future__ import annotations

from pathlib import Path

from node.config.data_manifest import PIECES, content_of
from node.config.schema import Config
from node.config.sections.swarm import DhtConfig
from node.config.sections.tasks import TaskConfig
from node.ui.terminal.window import say_aside
from policies.local_cache import default_cache
from policies.tasks.data_task import build_with_rows, is_data
from policies.tasks.task import TaskError
from swarm.rows.row_store import RowStore

MOST_KEPT = 2 * 2**30  # bytes of rows of all runs; the longest unused give way


def row_store() -> RowStore:
    return RowStore(default_cache() / "rows")


def root_of(task: TaskConfig) -> bytes | None:
    """What the swarm names the task's rows by, where it shares them."""
    root = task.params.get(PIECES)
    return bytes.fromhex(root) if is_data(task.name) and isinstance(root, str) else None


def with_kept_rows(config: Config) -> Config:
    """The config with the path of rows that this node has already, for tasks that have none of their own."""
    return config.model_copy(update={"tasks": tuple(_with_kept(task) for task in config.tasks)})


def keep_shared(config: Config) -> None:
    """Puts the rows of tasks with `share` where they are handed on from. Raises TaskError, OSError."""
    if not isinstance(config.swarm, DhtConfig):
        return
    store = row_store()
    for task in config.tasks:
        root = root_of(task)
        if root is None or not (task.share and task.path) or store.find(root):
            continue
        if store.put(content_of(build_with_rows(task.spec)[1])) != store.path(root):
            raise TaskError(
                f"{task.name}: its rows are not those that the swarm shares: take them as they were, or leave out share"
            )
    make_room(config)


def make_room(config: Config) -> None:
    """Keeps the store within its bound, without rows of this config, and says what went. Raises OSError."""
    store = row_store()
    gone = store.make_room(MOST_KEPT, [root for task in config.tasks if (root := root_of(task))])
    if gone:
        say_aside(
            f"{len(gone)} files of rows that were not used for longest were removed from {store.folder}, which holds "
            f"at most {MOST_KEPT / 2**30:g} GB; a run that needs them fetches them again"
        )


def handed_on(config: Config) -> tuple[Path, ...]:
    """Files of rows that this node serves: all that its swarm shares and it has."""
    store, roots = row_store(), map(root_of, config.tasks)
    return tuple(path for root in roots if root is not None and (path := store.path(root)).is_file())


def sharing_notices(config: Config) -> list[str]:
    """Who will be able to read what, a line a task."""
    if not isinstance(config.swarm, DhtConfig):
        return []
    who = "whoever has the invite, or gets it from somebody"
    kind = "private swarm" if config.swarm.member_key else "open swarm"
    own = [task for task in config.tasks if task.share and root_of(task)]
    taken = [
        task for task in config.tasks if not task.share and (root := root_of(task)) and is_kept(task, root)
    ]
    return [
        *(f"{task.name}: its rows are shared: {who}, can read and keep them ({kind})" for task in own),
        *(
            f"{task.name}: its rows came from the swarm, and this node hands them on to members"
            for task in taken
        ),
    ]


def _with_kept(task: TaskConfig) -> TaskConfig:
    root = root_of(task)
    found = row_store().find(root) if root is not None and not task.path else None
    return task.model_copy(update={"path": str(found)}) if found else task


def is_kept(task: TaskConfig, root: bytes) -> bool:
    """Whether the task's rows are those that came from its swarm, and no file of the owner's."""
    return Path(task.path) == row_store().path(root)
