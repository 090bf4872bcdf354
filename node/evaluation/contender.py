"""A model that is judged: a checkpoint of a run, the run's start, or a model folder, hub id or GGUF file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.config.packages import require_packages
from node.config.schema import Config, parse_config
from node.config.sections.policy import DiffusionPolicyConfig, TextPolicyConfig
from node.config.sections.tasks import TaskConfig
from node.evaluation.errors import EvaluationError
from node.evaluation.options import Options
from node.export.lineage import read_lineage
from node.storage.checkpoint import Checkpoints, round_of
from node.storage.run_folder import RunFolder, find_run, no_run
from policies.error_words import brief
from policies.plain_files import read_json
from policies.tasks import Task, asks_for_images, build_task
from policies.text.loading.model_path import check_had

ADAPTER = "adapter_config.json"
PATHS = ("runs/", "./", "../", "/", "~")  # of names, those that no model on the hub has
DEFAULT_CAP = 64  # tokens of an answer, for a model that no run's config speaks of


@dataclass(frozen=True, slots=True)
class Contender:
    """`config` says how its policy is built and sampled; without a checkpoint it is judged as it starts."""

    label: str
    config: Config
    run: RunFolder | None = None
    checkpoint: Path | None = None


def refuse_unusable(options: Options) -> None:
    """What can be said of a wrong model, round or task before torch is loaded.

    Raises EvaluationError, RunFolderError, ConfigError, ExtraMissing, CheckpointError, TaskError, PolicyError.
    """
    for name in filter(None, (options.model, options.base)):
        RunFolder(Path(name)).refuse_demo()
        if name.startswith(PATHS) and not Path(name).exists():
            raise EvaluationError(f"{no_run(name)}; and no model is there")
    subject, base = contenders(options)
    for contender in filter(None, (subject, base)):
        if isinstance(policy := contender.config.policy, TextPolicyConfig):
            check_had(policy.model.path)
    tasks_of(options, subject)


def tasks_of(options: Options, subject: Contender) -> list[Task]:
    """Those that were named, else the subject's own. Raises EvaluationError, ExtraMissing, TaskError."""
    chosen = tasks_named(options.tasks, subject.config) if options.tasks else list(subject.config.tasks)
    if drawn := [task.name for task in chosen if asks_for_images(task.spec)]:
        raise EvaluationError(f"{', '.join(drawn)} asks for images: name tasks of text with --tasks")
    require_packages(subject.config.model_copy(update={"tasks": tuple(chosen)}))
    return [build_task(task.spec) for task in chosen]


def contenders(options: Options) -> tuple[Contender, Contender | None]:
    """Who is judged, and against whom: a run against its start, a model against what `--against` names."""
    path = Path(options.model)
    if is_run(path):
        if options.cap is not None:
            raise EvaluationError(
                f"{path} is a run, whose answers are as long as it trained with (policy.generation.max_new_tokens): "
                "leave out --max-new-tokens"
            )
        subject = of_run(path, options.round)
        return subject, against(options.base, subject) if options.base else start_of(subject)
    if options.round is not None:
        raise EvaluationError(f"{options.model} is no run, so it has no rounds: leave out --round")
    subject = of_model(options.model, tasks_named(options.tasks, None), options.cap)
    return subject, against(options.base, subject) if options.base else None


def is_run(path: Path) -> bool:
    """A model folder has a config.json too, and no checkpoints."""
    return (path / "checkpoints").is_dir() or (path / "events.sqlite").is_file()


def of_run(path: Path, round_number: int | None) -> Contender:
    """Raises RunFolderError, ConfigError, CheckpointError, and EvaluationError for a policy that makes images."""
    run = find_run(path)
    config = run.read_config()
    if isinstance(config.policy, DiffusionPolicyConfig):
        raise EvaluationError(
            f"{path} trained a policy that makes images, and murmur eval judges language models"
        )
    found = Checkpoints(run.checkpoints, 1).find(round_number)
    return Contender(f"round {round_of(found)}", config, run, found)


def start_of(contender: Contender) -> Contender:
    """What a run's checkpoint was trained from."""
    return Contender("start", contender.config, contender.run)


def of_model(path: str, tasks: Sequence[TaskConfig], cap: int | None) -> Contender:
    """A model by itself. What murmur exported is prompted as in its run; of others the template decides.

    Raises EvaluationError where no task is known.
    """
    folder = Path(path)
    lineage = read_lineage(folder) if folder.is_dir() else {}
    chosen = [task.model_dump() for task in tasks] or _tasks_of(lineage)
    if not chosen:
        raise EvaluationError(
            f"{path} is no run's folder and does not say what it was trained on: check the path, or name tasks, as in "
            "--tasks sort,rg:chain_sum"
        )
    model: dict[str, Any] = _where(folder) if (folder / ADAPTER).is_file() else {"path": path}
    older = {name: lineage[name] for name in ("system", "template_args") if lineage.get(name)}
    generation = {"max_new_tokens": cap or lineage.get("max_new_tokens") or DEFAULT_CAP}
    prompt = lineage.get("prompt") or older
    policy = {"type": "text", "model": model, "generation": generation, "prompt": prompt}
    name = folder.name if folder.exists() else path
    return Contender(name, parse_config({"seed": 0, "tasks": chosen, "policy": policy}))


def against(base: str, subject: Contender) -> Contender:
    """What the subject is compared with: a run's newest checkpoint, or a model prompted and cut as the subject is."""
    if is_run(Path(base)):
        return of_run(Path(base), None)
    policy = subject.config.model_dump()["policy"]
    other = of_model(base, subject.config.tasks, policy["generation"]["max_new_tokens"])
    tree = other.config.model_dump()
    tree["policy"] |= {name: policy[name] for name in ("prompt", "generation")}
    return Contender(other.label, parse_config(tree))


def tasks_named(names: Sequence[str], config: Config | None) -> list[TaskConfig]:
    """Tasks by name; one of the run's keeps the parameters that it has there."""
    known = {task.name: task for task in config.tasks} if config else {}
    return [known.get(name) or TaskConfig(name=name) for name in names]


def _tasks_of(lineage: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": task["spec"], "params": task["params"]} for task in lineage.get("tasks", [])]


def _where(folder: Path) -> dict[str, Any]:
    """An adapter's base and the adapter. Raises EvaluationError for one that names no base."""
    try:
        base = read_json(folder / ADAPTER)["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{folder / ADAPTER} names no base ({brief(error)}): export the adapter again"
        ) from error
    return {"path": base, "adapter": str(folder)}
