"""The packages that a config needs beside murmur's own: whatever is missing is told at once, with one command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from node.config.schema import Config
from node.config.sections.policy import DiffusionPolicyConfig, TextPolicyConfig
from node.config.sections.tasks import TaskConfig
from policies.diffusion.settings import DigitsSource
from policies.image_rewards.reward_models import PACKAGES
from policies.install_hints import install_all
from policies.tasks import DIGITS, asks_for_images
from policies.tasks.data_task import is_data
from policies.tasks.gym import PREFIX, gym_installed
from policies.tasks.verifiers.math import LIBRARIES
from policies.tasks.verifiers.own import own_packages
from policies.text.loading.model_path import is_gguf, package_of
from swarm.errors import ExtraMissing


@dataclass(frozen=True, slots=True)
class Missing:
    """A package that is not installed, what wants it, and how it is had: by an extra, or alone by its name."""

    name: str
    use: str
    extra: str = ""
    source: str = ""  # what pip is given, where no extra has it
    bare: bool = False  # without what it depends on


def require_packages(config: Config) -> None:
    """Raises ExtraMissing, which names all that is missing and one command, where something is."""
    if missing := missing_packages(config):
        raise ExtraMissing(f"{in_words(missing)}; install with: {command_for(missing)}")


def missing_packages(config: Config) -> list[Missing]:
    """Whatever this node could not begin without; each package once. Loads none."""
    found = [*_of_policy(config), *(each for task in own_tasks(config) for each in _of_task(task))]
    return list({each.name: each for each in reversed(found)}.values())[::-1]


def in_words(missing: list[Missing]) -> str:
    named = ", ".join(f"{each.name} (for {each.use})" for each in missing)
    return f"this config needs what is not installed here: {named}"


def command_for(missing: list[Missing]) -> str:
    """One line for the shell."""
    return install_all(
        extras=sorted({each.extra for each in missing if each.extra}),
        packages=[each.source for each in missing if each.source and not each.bare],
        bare=[each.source for each in missing if each.bare],
    )


def own_tasks(config: Config) -> list[TaskConfig]:
    """The tasks that the node's policy can take: of text, or of images. A swarm may hold both."""
    draws = isinstance(config.policy, DiffusionPolicyConfig)
    return [task for task in config.tasks if asks_for_images(task.spec) == draws]


def _of_policy(config: Config) -> Iterator[Missing]:
    policy = config.policy
    if isinstance(policy, DiffusionPolicyConfig):
        yield from _of_diffusion(policy, [task.name for task in own_tasks(config)])
        return
    if policy.trainer.optimizer == "adamw_8bit" and not _there("bitsandbytes"):
        yield Missing("bitsandbytes", "policy.trainer.optimizer", "bitsandbytes")
    if not isinstance(policy, TextPolicyConfig):
        return
    path = policy.model.path
    if is_gguf(path) and not _there("gguf"):
        yield Missing("gguf", "a model in a .gguf file", "gguf")
    if (package := package_of(path)) and not _distributed(package):
        yield Missing(package, "the model itself", source=package, bare=True)
    if policy.model.four_bit and not _there("bitsandbytes"):
        yield Missing("bitsandbytes", "policy.model.four_bit", "bitsandbytes")


def _of_diffusion(policy: DiffusionPolicyConfig, tasks: list[str]) -> Iterator[Missing]:
    modules = {"diffusers": "diffusers", "PIL": "pillow"}
    if isinstance(policy.source, DigitsSource) or DIGITS in tasks:
        modules["sklearn"] = "scikit-learn"
    for module, name in modules.items():
        if not _there(module):
            yield Missing(name, "a diffusion policy", "diffusion")


def _of_task(task: TaskConfig) -> Iterator[Missing]:
    if task.name.startswith(PREFIX) and not gym_installed():
        yield Missing("reasoning-gym", f"{PREFIX} tasks", "envs")
    if (needed := PACKAGES.get(task.name)) and not _there(needed.module):
        yield Missing(needed.name, task.name, source=needed.source)
    if not is_data(task.name):
        return
    if _names_math(task.verifier) and (lost := [each for each in LIBRARIES if not _distributed(each)]):
        yield Missing(lost[0], "the verifier math", "math")
    for package in own_packages(task.verifier):
        if not _distributed(package):
            yield Missing(package, f"a verifier of {task.name}, whose code would run here", source=package)


def _names_math(described: object) -> bool:
    """Whether a verifier, as a config describes it, is `math` or has a part that is."""
    parts = described if isinstance(described, list) else [described]
    return any((part.get("name") if isinstance(part, dict) else part) == "math" for part in parts)


def _there(module: str) -> bool:
    return find_spec(module) is not None


def _distributed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True
