"""From config to a running node: the only place that knows which policy and task stand behind the seams."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from node.checkpoint import Checkpoints
from node.config import Config, EmbeddedPolicyConfig
from node.loop import Node
from node.members import manifest_of
from node.network import gossip_settings
from node.runfolder import RunFolder
from node.store import Store
from node.swarm_config import DhtConfig
from policies.policy import Policy
from policies.seeds import derive_generator
from policies.strategies import build_strategy
from policies.strategies.pool import RolloutPool
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum
from policies.text.embedded import load_embedded
from policies.text.policy import TextPolicy
from swarm.gossip import Gossip
from swarm.identity import Identity
from swarm.pool import Pool, PoolSettings
from swarm.transport import Transport
from swarm.verify import Door, DoorSettings

Progress = Callable[[str, int, int], None]  # what, done, total


def build_node(
    config: Config,
    folder: RunFolder,
    transport: Transport,
    progress: Progress,
    clock: Callable[[], float] = time.time,
) -> Node:
    """Loads the policy and connects the parts. Raises TaskError, PolicyError, IdentityError, ConfigError."""
    tasks = [build_task(task.spec) for task in config.tasks]
    by_name = {task.name: task for task in tasks}
    policy = build_policy(config, progress)
    max_age = config.sampler.max_age
    pool = Pool(PoolSettings(max_age=max_age, solved=config.sampler.external_advantages == "gain"))
    peer = Identity.load_or_create(folder.identity(config)).peer_id
    swarm = manifest_of(config).swarm_id if isinstance(config.swarm, DhtConfig) else ""
    door = Door(swarm, peer, by_name, policy.encode, clock, DoorSettings(max_age=max_age))
    generator = derive_generator(config.seed, "gossip", time.time_ns())  # what peers offer repeats in no run
    return Node(
        config=config,
        tasks=by_name,
        curriculum=Curriculum(tasks, [task.weight for task in config.tasks], config.seed),
        policy=policy,
        strategy=build_strategy(config.strategy),
        rollouts=RolloutPool(config.seed),
        door=door,
        pool=pool,
        gossip=Gossip(transport, door, pool, clock, generator, gossip_settings(config)),
        store=Store(folder.events),
        checkpoints=Checkpoints(folder.checkpoints, config.checkpoint.keep),
        clock=clock,
    )


def build_policy(config: Config, progress: Progress) -> Policy:
    """The policy with its weights loaded, warm-started first where it is the embedded one. Raises PolicyError."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device if config.device != "auto" else _best_device())
    chosen = config.policy
    if not isinstance(chosen, EmbeddedPolicyConfig):
        return TextPolicy.from_settings(chosen.model, chosen, device, config.seed)
    model, tokenizer = load_embedded(
        chosen.warm_start, progress=lambda done, total: progress("warm start", done, total)
    )
    return TextPolicy(model.to(device), tokenizer, chosen, seed=config.seed)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
