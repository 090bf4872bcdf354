"""Files that a config names: absolute from the start, and of data tasks with the digests that a swarm agrees on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.config.data_manifest import described
from policies.settings import own_path
from policies.tasks.code_task import CODE_SOURCE, build_code_task, is_code
from policies.tasks.data.hub import PREFIX
from policies.tasks.data_task import DIGESTS, build_with_rows, is_data
from policies.text.chat.settings import PLAIN
from policies.text.loading.revision import commit_of

if TYPE_CHECKING:
    from node.config.schema import Config
    from node.config.sections.swarm import TrafficConfig
    from node.config.sections.tasks import TaskConfig


def make_paths_absolute(tree: Mapping[str, Any], folder: Path) -> None:
    """In a plain tree: the key file, `path` and `code` of each task, the chat template's file, from their folder.

    A run that goes on from another folder would find other files there, or none and make itself a new key.
    """
    if isinstance(tree, dict) and isinstance(key := tree.get("identity"), str) and key:
        tree["identity"] = absolute(key, folder)
    tasks = tree.get("tasks")
    for task in tasks if isinstance(tasks, list) else []:
        if isinstance(task, dict) and isinstance(path := task.get("path"), str) and path:
            task["path"] = absolute(path, folder)
        if isinstance(task, dict) and isinstance(code := task.get("code"), str) and ".py:" in code:
            task["code"] = absolute(code, folder)
    prompt = tree["policy"].get("prompt") if isinstance(tree.get("policy"), dict) else None
    if (
        isinstance(prompt, dict)
        and isinstance(file := prompt.get("template_file"), str)
        and file not in ("", PLAIN)
    ):
        prompt["template_file"] = absolute(file, folder)


def absolute(path: str, folder: Path) -> str:
    """A data set of the hub stays as it is; one in a folder of this machine is a path like any."""
    if not path.startswith(PREFIX):
        return str((folder / own_path(path)).absolute())
    local = folder / own_path(path.removeprefix(PREFIX))
    return f"{PREFIX}{local.absolute()}" if local.is_dir() else path


def with_digests(config: Config) -> Config:
    """The config with the digests of its data and code tasks, and the commit of a model of the hub.

    Raises TaskError for what cannot be read or loaded.
    """
    traffic = getattr(config.swarm, "traffic", None)
    tasks = tuple(_with_digests(task, traffic) for task in config.tasks)
    return _with_commit(config.model_copy(update={"tasks": tasks}))


def _with_commit(config: Config) -> Config:
    model = getattr(config.policy, "model", None)
    commit = commit_of(model.path, model.revision) if model is not None else None
    if model is None or commit is None:
        return config
    pinned = model.model_copy(update={"revision": commit})
    return config.model_copy(update={"policy": config.policy.model_copy(update={"model": pinned})})


def _with_digests(task: TaskConfig, traffic: TrafficConfig | None) -> TaskConfig:
    """What a swarm is told of the task besides, where the node has `traffic` with one."""
    if is_code(task.name) and CODE_SOURCE not in task.params:
        return task.model_copy(update={"params": dict(build_code_task(task.spec).digests)})
    if not is_data(task.name) or set(DIGESTS) <= set(task.params):
        return task
    made, rows = build_with_rows(task.spec)
    if traffic is None:
        return task.model_copy(update={"params": {**task.params, **made.digests}})
    return task.model_copy(update={"params": described(task, made, rows, traffic.rows)})
