"""Options of a command made into a checked config or a resumption; whatever would not be read is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.config import overrides as rules
from node.config.overrides import key_of, refuse_silo_type, refuse_unread, with_rounds
from node.config.roles import as_silo, as_swarm_node, invite_in
from node.config.schema import Config, ConfigError, load_config
from node.config.swarm import SiloConfig
from node.start import Resumption


def run_config(source: str, overrides: Sequence[str], rounds: int | None) -> Config:
    """Raises ConfigError."""
    config = load_config(source, with_rounds(overrides, rounds))
    if isinstance(config.swarm, SiloConfig):
        refuse_unread(overrides, rules.ALONE, "a run without a swarm")
    return config


def silo_config(source: str, overrides: Sequence[str], rounds: int | None) -> Config:
    """Raises ConfigError."""
    refuse_unread(overrides, rules.SILO, "murmur silo")
    config = as_silo(load_config(source, with_rounds(overrides, rounds), for_role=True))
    return config.model_copy(update={"silo_baseline": False})


def join_config(
    addresses: Sequence[str], source: str, overrides: Sequence[str], rounds: int | None
) -> tuple[Config, bytes]:
    """The config of a node that joins, and the secret of a private swarm. Raises ConfigError, InviteError."""
    if not addresses:
        raise ConfigError("murmur join takes an invite, as murmur bootstrap prints it, or --resume")
    invite = invite_in(addresses)
    refuse_unread(overrides, rules.JOIN_BY_INVITE if invite else rules.JOIN_BY_ADDRESS, "murmur join")
    refuse_silo_type(overrides, "murmur join")
    keys = set(map(key_of, overrides))
    config = load_config(source, with_rounds(overrides, rounds), for_role=True)
    if invite and "tasks" in keys:
        _refuse_strange_tasks(config, as_swarm_node(config, addresses))
    asked = bool(keys & {"sampler", "sampler.external"})
    return as_swarm_node(config, addresses, keep_sampler=asked), invite.secret if invite else b""


def bootstrap_config(source: str, overrides: Sequence[str], beside: str | None) -> Config:
    """Raises ConfigError."""
    refuse_unread(overrides, rules.BESIDE if beside else rules.BOOTSTRAP, "murmur bootstrap")
    refuse_silo_type(overrides, "murmur bootstrap")
    return load_config(source, with_rounds(overrides, None), for_role=True)


def demo_settings(overrides: Sequence[str], rounds: int | None) -> list[str]:
    """Raises ConfigError."""
    refuse_unread(overrides, rules.DEMO, "murmur demo")
    return with_rounds(overrides, rounds)


def resumption(  # noqa: PLR0913  the options of three commands
    stem: str,
    config: str | None,
    overrides: Sequence[str],
    rounds: int | None,
    run_dir: Path | None,
    addresses: Sequence[str] = (),
    *,
    command: str = "run",
) -> Resumption:
    """Raises ConfigError for options that a resumed run would not read."""
    if overrides:
        raise ConfigError("a resumed run keeps its config: leave out --set (only --rounds may change)")
    if config is not None and (command != "run" or run_dir is not None):
        raise ConfigError(f"a resumed run keeps its config: leave out {config!r}")
    return Resumption(stem, run_dir, rounds, silo=command == "silo", addresses=tuple(addresses))


def _refuse_strange_tasks(config: Config, joined: Config) -> None:
    """Of `--set tasks` a joining node reads the weights alone; tasks that the swarm does not have are refused."""
    known = {(task.name, task.spec.fingerprint()) for task in joined.tasks}
    strange = [task.name for task in config.tasks if (task.name, task.spec.fingerprint()) not in known]
    if strange:
        raise ConfigError(
            f"--set tasks: the invite's swarm has no {', '.join(strange)} with these parameters; it has "
            f"{', '.join(task.name for task in joined.tasks)}"
        )
