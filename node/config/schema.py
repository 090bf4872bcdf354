"""The config of a run: every section with its class, unknown keys refused.

Defaults are the vetted setting. Every field's docstring is its documentation (`murmur config schema`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from node.config.explain import explain
from node.config.sections.checkpoint import CheckpointConfig
from node.config.sections.evaluation import EvaluationConfig
from node.config.sections.metrics import MetricsConfig
from node.config.sections.policy import EmbeddedPolicyConfig, PolicyConfig
from node.config.sections.sampler import SamplerConfig
from node.config.sections.store import StoreConfig
from node.config.sections.strategy import StrategyConfig
from node.config.sections.swarm import SiloConfig, SwarmConfig
from node.config.sections.tasks import TaskConfig
from node.config.sections.tracking import TrackingConfig
from node.config.sections.trust import TrustConfig
from policies.settings import LARGEST, Settings
from policies.strategies.settings import GrpoSettings
from policies.tasks.data_task import DIGESTS, is_data

# Keys of before -> their names of today: refused with the new one named.
RENAMED = {
    "relief": "retry_unsolved",
    "keep_silent": "keep_zero_advantage",
    "over": "oversample",
    "foreign_share": "external_share",
    "twin": "silo_baseline",
}


MAX_BITS = 1000  # of a whole number; a float holds 1023


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key and what to write instead."""


class Config(Settings):
    seed: int | None = Field(default=None, ge=0)
    """Every random choice of the run derives from it. Left out, it derives from the node's identity, so that no two
    nodes meet the same problems; the run's config.json holds it."""
    rounds: int = Field(default=100, ge=1)
    """Rounds to run: generate, publish, collect, sample, update."""
    device: str = "auto"
    """Where the policy lives: `cpu`, `mps`, `cuda`, or one GPU of several, as `cuda:1`. `auto` takes the first there is
    of cuda, mps and cpu."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads for torch; with 0 those of OMP_NUM_THREADS, else one for the embedded policy and the digits, and for
    other models as many as the cores that are free as the run begins."""
    identity: str = ""
    """Path of the key file, seen from the config's folder. Empty: `identity.key` in the run folder."""
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    """What the policy is trained on."""
    policy: PolicyConfig = EmbeddedPolicyConfig()
    """What is trained: `type` embedded (made here), text (a Hugging Face model) or diffusion (images)."""
    strategy: StrategyConfig = GrpoSettings()
    """How rollouts are made: `type` grpo, brorl, dars, or april round any of them."""
    sampler: SamplerConfig = SamplerConfig()
    """Which groups an update trains on."""
    swarm: SwarmConfig = SiloConfig()
    """Whom the node shares with: `type` dht, or silo for nobody. Without this section: silo."""
    silo_baseline: bool = False
    """Train a silo baseline beside a swarm node, on as many CPU seconds, and say at the end what sharing brought. It
    takes as much memory and time as the node."""
    trust: TrustConfig = TrustConfig()
    """Peers that the owner vouches for, and peers that nothing is taken from."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """When and on how much the policy is judged."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """When the run is saved."""
    store: StoreConfig = StoreConfig()
    """How much of the rollouts is kept."""
    metrics: MetricsConfig = MetricsConfig()
    """Where Prometheus, and whoever watches over the run, can ask how it goes."""
    tracking: TrackingConfig = TrackingConfig()
    """Which experiment trackers get the figures of every round."""

    @property
    def run_seed(self) -> int:
        """The seed of a run that has begun. Raises ConfigError while it is still to be derived."""
        if self.seed is None:
            raise ConfigError("seed is not set yet: it is derived when the run folder is made")
        return self.seed

    def seeded(self, derived: int) -> Config:
        """The same config with a seed: `derived` where none is set."""
        return self if self.seed is not None else self.model_copy(update={"seed": derived})

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
            raise ValueError(
                f"must be 'auto', 'cpu', 'cuda', 'mps' or one GPU, such as 'cuda:1'; it is {device[:40]!r}"
            )
        return device

    @field_validator("tasks")
    @classmethod
    def _told_apart(cls, tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        keys = [task.key for task in tasks]
        for task in tasks:
            if keys.count(task.key) > 1:
                raise ValueError(
                    f"{task.name} is there twice: give own questions another name; weight draws a task more often"
                )
            if is_data(task.name) and task.params and not set(DIGESTS) <= set(task.params):
                raise ValueError(
                    f"{task.name} takes no params: write {', '.join(task.params)} beside its name, without params"
                )
        return tasks

    @model_validator(mode="after")
    def _sharing_needs_a_swarm(self) -> Config:
        if self.swarm.type == "silo" and self.sampler.external:
            raise ValueError("sampler.external must be 0 in a silo: nobody sends groups there")
        return self


def parse_config(tree: Mapping[str, Any]) -> Config:
    """Checks a plain tree. Raises ConfigError."""
    if key := _key_of_endless_number(tree):
        raise ConfigError(f"{key}: must be at most {LARGEST}; it is a number of over 300 digits")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, RENAMED)) from None


def _key_of_endless_number(value: Any, key: str = "") -> str | None:
    """The key of a whole number that no float holds: pydantic itself fails on one, and Python may not print it."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return key
    parts = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    found = (_key_of_endless_number(part, f"{key}.{name}" if key else str(name)) for name, part in parts)
    return next((each for each in found if each is not None), None)
