"""Lineage of a model, from its run's config and event store: plain values, kept as `lineage.json` beside it."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from node.config.roles import manifest_of
from node.config.schema import Config
from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from node.config.sections.swarm import DhtConfig
from node.config.sections.tasks import TaskConfig
from node.storage.events import EvaluationEvent, History
from node.storage.influence import Influence, influences
from policies.plain_files import read_object
from policies.tasks import build_task
from policies.tasks.task import TaskError
from swarm.version import find_version
from swarm.visible_text import counted

FILE = "lineage.json"
LIBRARIES = ("torch", "transformers", "trl", "peft")


@dataclass(frozen=True, slots=True)
class TaskLineage:
    """One task that a model was trained on."""

    name: str  # full name: `family@version`, with the digest of its parameters where it has any
    spec: str  # as a config names it
    params: Mapping[str, Any]
    weight: float


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a model's card says of it."""

    base: str  # hub id, name of a folder or file, or the recipe of the embedded policy
    trained: str  # all weights, or which adapter
    round: int  # of the checkpoint
    policy_version: int  # optimiser updates that changed the weights, as far as the event store has them
    tasks: tuple[TaskLineage, ...]
    strategy: str
    swarm: str  # digest of the swarm's manifest; empty for a silo
    own_groups: int  # groups of the node's own that its updates trained on
    peer_groups: Mapping[str, int]  # those of each peer, most first
    influence: tuple[Influence, ...]  # what the groups of each peer brought, the most helpful first
    evaluations: tuple[EvaluationEvent, ...]  # pass@1 on held-out problems, oldest first
    evaluated_on: int  # held-out problems of each task
    max_new_tokens: int
    # What the run's [policy.prompt] set; a template of its own is saved with the tokenizer.
    prompt: Mapping[str, Any]
    versions: Mapping[str, str]
    date: str  # of the export, ISO 8601
    judged: Mapping[str, Any] = field(default_factory=dict)  # what `murmur eval` found of this checkpoint


def lineage_of(
    config: Config,
    policy: TextPolicyConfig | EmbeddedPolicyConfig,
    history: History,
    at: int,
    judged: Mapping[str, Any],
) -> Lineage:
    """Lineage of the checkpoint of round `at`. Raises StoreError for a damaged event store."""
    rounds = [event for event in history.rounds() if event.round <= at and event.diverged is None]
    peers = Counter(event.peer for event in history.external() if event.round <= at)
    return Lineage(
        base=base_of(policy),
        trained=_trained(policy),
        round=at,
        policy_version=rounds[-1].policy_version if rounds else 0,
        tasks=tuple(map(_task, config.tasks)),
        strategy=_strategy(config),
        swarm=manifest_of(config).swarm_id if isinstance(config.swarm, DhtConfig) else "",
        own_groups=sum(event.trained_local for event in rounds),
        peer_groups=dict(peers.most_common()),
        influence=tuple(influences(history, at)),
        evaluations=tuple(event for event in history.evaluations() if event.round <= at),
        evaluated_on=config.evaluation.problems,
        max_new_tokens=policy.generation.max_new_tokens,
        prompt=_prompt(policy),
        versions=_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        judged=judged,
    )


def write_lineage(lineage: Lineage, folder: Path) -> None:
    (folder / FILE).write_text(json.dumps(asdict(lineage), indent=2) + "\n", encoding="utf-8")


def read_lineage(folder: Path) -> dict[str, Any]:
    """What `write_lineage` wrote; empty for a folder that murmur did not write, or whose file is damaged."""
    return read_object(folder / FILE)


def base_of(policy: TextPolicyConfig | EmbeddedPolicyConfig) -> str:
    """The start as a card names it: of a path on this machine only the last name, since a card is published."""
    if isinstance(policy, EmbeddedPolicyConfig):
        return f"murmuration's embedded policy ({policy.warm_start.size}, seed {policy.warm_start.seed})"
    path = policy.model.path
    name = Path(path).name if Path(path).is_absolute() else path
    revision = getattr(policy.model, "revision", None)
    return f"{name} at {revision}" if revision else name


def hub_id(policy: TextPolicyConfig | EmbeddedPolicyConfig) -> str | None:
    """The start's id on the hub; None where it came from elsewhere."""
    path = policy.model.path if isinstance(policy, TextPolicyConfig) else ""
    plain = path.count("/") == 1 and not Path(path).is_absolute() and ":" not in path
    return path if plain and not path.endswith(".gguf") else None


def _trained(policy: TextPolicyConfig | EmbeddedPolicyConfig) -> str:
    if isinstance(policy, EmbeddedPolicyConfig) or (
        policy.model.lora is None and policy.model.adapter is None
    ):
        return "all weights"
    lora = policy.model.lora
    if lora is None:
        return "an adapter that was trained before"
    kind = ("rank-stabilised " if lora.rslora else "") + ("DoRA" if lora.dora else "LoRA")
    whole = f", and whole {', '.join(lora.modules_to_save)}" if lora.modules_to_save else ""
    return f"{kind} of rank {lora.rank}, alpha {lora.alpha:g}{whole}"


def _task(task: TaskConfig) -> TaskLineage:
    try:
        name = build_task(task.spec).name
    except TaskError:  # its package is not installed here
        name = f"{task.name}{task.spec.fingerprint()}"
    return TaskLineage(name, task.name, dict(task.params), task.weight)


def _prompt(policy: TextPolicyConfig | EmbeddedPolicyConfig) -> dict[str, Any]:
    """What differs from the defaults, without the template's file."""
    short = {"wording": "short"} if isinstance(policy, EmbeddedPolicyConfig) else {}
    given = policy.prompt.model_dump(mode="json", exclude_defaults=True, exclude={"template_file"})
    return {**short, **given}


def _strategy(config: Config) -> str:
    inner = getattr(config.strategy, "inner", None)
    name = f"{config.strategy.type} round {inner.type}" if inner is not None else config.strategy.type
    own, peers = config.sampler.local, config.sampler.external
    return f"{name}, {counted(own, 'own group')} a round and {peers} of peers"


def _versions() -> dict[str, str]:
    return {
        "murmuration": find_version(),
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
    }
