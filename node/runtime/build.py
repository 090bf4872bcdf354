"""From config to a running node: the only place that knows which policy and task stand behind the seams."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

import torch

from node.config.packages import own_tasks
from node.config.roles import manifest_of
from node.config.schema import Config, ConfigError
from node.config.sections.policy import DiffusionPolicyConfig, EmbeddedPolicyConfig, TextPolicyConfig
from node.config.sections.swarm import DhtConfig
from node.config.sections.tasks import TaskConfig
from node.runtime.loop import Node
from node.runtime.memory import require_memory
from node.runtime.transports import gossip_settings
from node.storage.checkpoint import Checkpoints
from node.storage.events import Store
from node.storage.run_folder import RunFolder
from node.storage.trust_lists import TrustFile
from node.ui.invocation import murmur
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.diffusion.policy import DiffusionPolicy
from policies.hardware import free_cores
from policies.install_hints import install_extras
from policies.local_cache import default_cache
from policies.policy import Policy, PolicyError
from policies.seeds import derive_generator
from policies.strategies import build_strategy, trained_rollouts
from policies.strategies.open_groups import OpenGroups
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum, take_all
from policies.tasks.data_task import DataTask
from policies.tasks.form_check import form_fault
from policies.tasks.image_reward import ImageRewardTask
from policies.tasks.success_rates import SuccessRates
from policies.tasks.task import HELD_OUT_SEED, Task
from policies.text.arithmetic import has_bfloat16, prepare_device
from policies.text.embedded import load_embedded
from policies.text.loading.model_path import is_gguf
from policies.text.policy import TextPolicy
from swarm.admission.habits import HabitSettings
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.gossip.service import Gossip
from swarm.limits import MAX_ROLLOUTS
from swarm.sampling.external_pool import ExternalPool, PoolSettings
from swarm.transport.base import Transport
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

# Held-out problems of each task that must fit into the model's context before a run begins.
CHECKED_PROMPTS = 8

Progress = Callable[[str, int, int], None]  # what, done, total


def build_node(
    config: Config,
    folder: RunFolder,
    transport: Transport,
    progress: Progress,
    clock: Callable[[], float] = time.time,
) -> Node:
    """Loads the policy and connects the parts. Raises TaskError, PolicyError, IdentityError, ConfigError."""
    chosen, unsupported = tasks_of(config)
    tasks = [build_task(task.spec) for task in chosen]
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        if isinstance(task, ImageRewardTask):
            task.load()  # now, and not after the first images
    policy = build_policy(config, progress)
    max_age = config.sampler.max_age
    size = MAX_ROLLOUTS if config.trust.trusting else trained_rollouts(config.strategy)
    pool = ExternalPool(PoolSettings(max_age=max_age, group_size=size, seed=config.run_seed))
    peer = Identity.load_or_create(folder.identity(config)).peer_id
    swarm = manifest_of(config).swarm_id if isinstance(config.swarm, DhtConfig) else ""
    limits = VerifierLimits(
        max_age=max_age,
        allowed=frozenset(config.trust.allow),
        denied=frozenset(config.trust.deny),
        unsupported_tasks=unsupported,
        habits=HabitSettings(config.trust.habits, config.trust.length_quantile, config.run_seed),
        fit=policy.fit,
    )
    verifier = RolloutVerifier(swarm, peer, by_name, policy.encode, clock, limits)
    # The clock is in it, since what peers offer repeats in no run.
    generator = derive_generator(config.run_seed, "gossip", time.time_ns())
    takes = policy.takes if isinstance(policy, TextPolicy) else take_all
    rates = SuccessRates() if config.sampler.problems == "adaptive" else None
    curriculum = Curriculum(tasks, [task.weight for task in chosen], config.run_seed, takes, rates)
    if isinstance(policy, TextPolicy):
        own_rows = [task for task in tasks if isinstance(task, DataTask)]
        _check_answer_forms(config, tasks)
        longest = [problem for task in own_rows for problem in task.longest(CHECKED_PROMPTS)]
        policy.check_prompts([*curriculum.held_out(CHECKED_PROMPTS), *longest])
    return Node(
        config=config,
        tasks=by_name,
        curriculum=curriculum,
        policy=policy,
        strategy=build_strategy(config.strategy),
        rollouts=OpenGroups(config.run_seed),
        verifier=verifier,
        pool=pool,
        gossip=Gossip(transport, verifier, pool, clock, generator, gossip_settings(config)),
        store=Store(folder.events, config.store.rollout_bytes),
        checkpoints=Checkpoints(folder.checkpoints, config.checkpoint.keep),
        check_place=folder.check_place,
        clock=clock,
        owner=TrustFile(folder.trust, config.trust.allow, config.trust.deny),
    )


def _check_answer_forms(config: Config, tasks: Sequence[Task]) -> None:
    """Raises ConfigError where a verifier does not read the answer in the form that prompts ask for."""
    if isinstance(config.policy, DiffusionPolicyConfig):
        return
    for task in tasks:
        if fault := form_fault(config.policy.prompt.form, task, task.problem(HELD_OUT_SEED)):
            raise ConfigError(fault)


def slow_start(config: Config) -> str:
    """Words to follow `loading ...`: why it may take minutes; empty where it should not."""
    gguf = isinstance(config.policy, TextPolicyConfig) and is_gguf(config.policy.model.path)
    return " (a GGUF file is converted at its first start, and kept)" if gguf else ""


def build_policy(config: Config, progress: Progress) -> Policy:
    """The policy with its weights loaded, warm-started first where it is the embedded one. Raises PolicyError."""
    set_threads(config)
    device = device_of(config)
    prepare_device(device)
    chosen = config.policy
    if isinstance(chosen, DiffusionPolicyConfig):
        return _build_diffusion(chosen, device, config.run_seed, progress)
    try:
        chosen = chosen.settled(rounds=config.rounds, bfloat16=has_bfloat16(device))
    except ValueError as error:
        raise ConfigError(f"policy.{error}") from None
    if not isinstance(chosen, EmbeddedPolicyConfig):
        require_memory(config, device)
        return TextPolicy.from_settings(chosen.model, chosen, device, config.run_seed, default_cache())
    model, tokenizer = load_embedded(
        chosen.warm_start, progress=lambda done, total: progress("warm start", done, total)
    )
    return TextPolicy(model.to(device), tokenizer, chosen, seed=config.run_seed, proofs=default_cache())


def _build_diffusion(
    chosen: DiffusionPolicyConfig, device: torch.device, seed: int, progress: Progress
) -> Policy:
    """Imported here: diffusers and scikit-learn are an extra. Raises PolicyError without them."""
    source = chosen.source
    if isinstance(source, PipelineSettings):
        return _build_pipeline(chosen, source, device, seed)
    try:
        from policies.diffusion.digits import DigitsDenoiser
        from policies.diffusion.digits_start import load_digits_network
    except ImportError as error:
        raise PolicyError(f"{error}; a diffusion policy needs: {install_extras('diffusion')}") from error
    network = load_digits_network(source, progress=lambda done, total: progress("warm start", done, total))
    return DiffusionPolicy(DigitsDenoiser(network.to(device), source.steps), chosen, source.type, seed)


def _build_pipeline(
    chosen: DiffusionPolicyConfig, source: PipelineSettings, device: torch.device, seed: int
) -> Policy:
    """Raises PolicyError when the pipeline cannot be loaded or adapted."""
    from policies.diffusion.pipeline.loading import load_denoiser

    denoiser = load_denoiser(source, device, seed)
    return DiffusionPolicy(denoiser, chosen, type(denoiser.module).__name__, seed)


def tasks_of(config: Config) -> tuple[list[TaskConfig], frozenset[str]]:
    """The tasks that this node's policy can take, and the names of those that it leaves to others of its swarm.

    A swarm may hold text and images at once. Raises ConfigError when nothing is left to do.
    """
    mine = own_tasks(config)
    unsupported = frozenset(task.name for task in config.tasks if task not in mine)
    if not mine:
        draws = isinstance(config.policy, DiffusionPolicyConfig)
        made, asked = ("images", "text") if draws else ("text", "images")
        raise ConfigError(
            f"tasks: {', '.join(sorted(unsupported))} ask for {asked}, and this policy makes {made}"
        )
    if unsupported:
        logger.info(
            "left to other nodes, as the own policy cannot take them: %s", ", ".join(sorted(unsupported))
        )
    return mine, unsupported


def set_threads(config: Config) -> None:
    """As the config says, else as the environment does; else one for networks of our own, and for others what is free.

    Threads of several nodes on one machine wait for one another: three people's rounds on two cores took twenty times
    the processor time with two threads each, for a network that one serves as well.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if _is_small(config) else free_cores())


def _is_small(config: Config) -> bool:
    """Whether the policy is one of the networks that we make."""
    chosen = config.policy
    if isinstance(chosen, DiffusionPolicyConfig):
        return not isinstance(chosen.source, PipelineSettings)
    return isinstance(chosen, EmbeddedPolicyConfig)


def device_of(config: Config) -> torch.device:
    """Raises PolicyError for a device that torch does not see."""
    kind, _, index = config.device.partition(":")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    best = next(device for device, found in there.items() if found)
    if kind == "auto":
        return torch.device(best)
    if not there[kind]:
        raise PolicyError(
            f"device = {config.device!r}, and this torch ({torch.__version__}) sees none: set device = {best!r} or "
            f"'auto', or install torch and driver for it ({murmur('doctor')} says what is found)"
        )
    if index and int(index) >= (count := torch.cuda.device_count()):
        raise PolicyError(
            f"device = {config.device!r}, and there are {count} GPUs: cuda:0 to cuda:{count - 1}"
        )
    return torch.device(config.device)
