"""Roles laid over a config: a silo, or a node of the swarm that an invite names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.config.data_manifest import joined
from node.config.schema import Config, ConfigError
from node.config.sections.sampler import SamplerConfig
from node.config.sections.swarm import DhtConfig, SiloConfig
from node.config.sections.tasks import TaskConfig
from policies.tasks import asks_for_sandbox
from policies.tasks.code_task import CODE_SOURCE, is_code
from policies.tasks.data_task import is_data
from policies.tasks.task import TaskSpec
from policies.tasks.verifiers.own import own_packages
from swarm.errors import InviteError
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.wire.multiaddr import Address


def as_silo(config: Config) -> Config:
    """The same run without peers: as many groups an update, all of them own."""
    groups = config.sampler.local + config.sampler.external
    sampler = config.sampler.model_copy(update={"local": groups, "external": 0})
    return config.model_copy(update={"swarm": SiloConfig(), "sampler": sampler})


def resuming_verb(kept: Config, *, alone: bool) -> str:
    """The command that goes on with a run: `run` would open the sockets again of what plays apart from its swarm."""
    return "silo" if alone and isinstance(kept.swarm, DhtConfig) else "run"


def wants_baseline(config: Config) -> bool:
    """A silo has no baseline: it is what one would be."""
    return config.silo_baseline and isinstance(config.swarm, DhtConfig)


def as_swarm_node(config: Config, addresses: Sequence[str], *, keep_sampler: bool = False) -> Config:
    """The same run as a node of the swarm that an invite or bootstrap multiaddrs name.

    An invite brings the swarm's task list with it; the config's weights apply to the tasks it names. A config
    without external groups trains on half and half, the paper's best split, unless `keep_sampler`: it was asked for.
    Raises InviteError, ConfigError.
    """
    swarm = config.swarm if isinstance(config.swarm, DhtConfig) else DhtConfig()
    invite = invite_in(addresses)
    if invite:
        config = _with_manifest_tasks(config, invite.manifest)
        swarm = swarm.model_copy(
            update={
                "name": invite.manifest.name,
                "epoch_seconds": invite.manifest.epoch_seconds,
                "shard_depth": invite.manifest.shard_depth,
                "member_key": invite.manifest.member_key.hex(),
                "bootstrap": invite.bootstrap,
            }
        )
    else:
        swarm = swarm.model_copy(update={"bootstrap": tuple(_checked(address) for address in addresses)})
    sampler = config.sampler if keep_sampler else _sharing(config)
    return config.model_copy(update={"swarm": swarm, "sampler": sampler})


def invite_in(addresses: Sequence[str]) -> Invite | None:
    """The invite, where one was given instead of multiaddrs. Raises InviteError."""
    if len(addresses) != 1 or addresses[0].startswith("/"):
        return None
    return Invite.decode(addresses[0])


def manifest_of(config: Config) -> Manifest:
    """The rules that this config's swarm shares. Raises ConfigError in a silo."""
    if not isinstance(config.swarm, DhtConfig):
        raise ConfigError(
            "swarm.type is silo: a silo has no manifest; use `murmur join`, or set swarm.type to dht"
        )
    return Manifest(
        name=config.swarm.name,
        tasks=tuple(task.shared for task in config.tasks),
        epoch_seconds=config.swarm.epoch_seconds,
        shard_depth=config.swarm.shard_depth,
        member_key=bytes.fromhex(config.swarm.member_key),
    )


def _with_manifest_tasks(config: Config, manifest: Manifest) -> Config:
    keys = [_task_of(spec).key for spec in manifest.tasks]
    if twice := sorted({name for name, params in keys if keys.count((name, params)) > 1}):
        raise ConfigError(f"the invite names the task {twice[0]} twice: ask for a new invite")
    mine = {task.key: task for task in config.tasks}
    asking = [
        spec.name for spec in manifest.tasks if asks_for_sandbox(spec) and _task_of(spec).key not in mine
    ]
    if asking and not config.trust.sandbox:
        raise ConfigError(
            f"the invite's tasks {', '.join(asking)} are scored in the sandbox, where a scorer may evaluate what a "
            "stranger wrote; if you want that, add --set trust.sandbox=true"
        )
    return config.model_copy(update={"tasks": tuple(_joined_task(spec, mine) for spec in manifest.tasks)})


def _task_of(spec: TaskSpec) -> TaskConfig:
    return TaskConfig(name=spec.name, params=dict(spec.params))


def _joined_task(spec: TaskSpec, mine: Mapping[tuple[str, str], TaskConfig]) -> TaskConfig:
    """A task of an invite, with this node's own weight and, of a data task, its own rows.

    Which rows an invite means is said by digests alone: what else it says of a data task, such as a path, is refused.
    """
    task = _task_of(spec)
    own = mine.get(task.key)
    if is_data(spec.name):
        try:
            return _without_code(joined(spec, own, TaskConfig), own)
        except ValueError as error:
            raise ConfigError(f"the invite's task {spec.name}: {error}: ask for a new invite") from None
    if is_code(spec.name) and (set(spec.params) != {CODE_SOURCE} or own is None or not own.code):
        raise ConfigError(
            f"the invite's task {spec.name} is code (source {spec.params.get(CODE_SOURCE, 'not named')}), and a node "
            "runs only what its own config names: ask whoever invited you for the file, read it, and join with "
            f"--config FILE.toml in which [[tasks]] has name = {spec.name!r} and code = 'FILE.py:Class'"
        )
    return own.model_copy(update={"params": task.params}) if own else task


def _without_code(task: TaskConfig, own: TaskConfig | None) -> TaskConfig:
    """Raises ConfigError for a verifier that is code and that this node's own config does not name."""
    packages = own_packages(task.verifier)
    if packages and not (own and "verifier" in own.model_fields_set):
        raise ConfigError(
            f"the invite's task {task.name} is scored by code of {', '.join(packages)}, and a node runs only what its "
            f"own config names: read it, install it, and join with --config FILE.toml in which [[tasks]] has "
            f"name = {task.name!r} and the same verifier, {task.verifier!r}"
        )
    return task


def _sharing(config: Config) -> SamplerConfig:
    sampler = config.sampler
    if sampler.external:
        return sampler
    half = max(1, sampler.local // 2)
    return sampler.model_copy(update={"local": max(1, sampler.local - half), "external": half})


def _checked(address: str) -> str:
    """Raises InviteError for what no node could be dialled at."""
    if not address.startswith("/") or "/p2p/" not in address:
        raise InviteError(
            f"{address!r} is neither an invite nor a multiaddr like /ip4/1.2.3.4/tcp/4001/p2p/12D3Koo..."
        )
    return str(Address.parse(address))
