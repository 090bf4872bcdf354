"""Arguments that would not be read, or contradict each other, are refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.config.schema import ConfigError

_NO_PEERS = "a silo has no peers"
# Of a command: each key that it would not read (or a section's, for all in it), and why.
Unread = Mapping[str, str]

ALONE: Unread = {
    "trust": _NO_PEERS,
    "silo_baseline": "a silo is what its baseline would be",
    **dict.fromkeys(
        [f"sampler.{key}" for key in ("draw", "external_advantages", "split", "retry_unsolved", "max_age")],
        _NO_PEERS,
    ),
}
SILO: Unread = {"swarm": "a silo has no swarm", **ALONE}
_BY_INVITE = "the invite says it"
_BY_ADDRESS = "the addresses given say it"
JOIN_BY_ADDRESS: Unread = {"swarm.bootstrap": _BY_ADDRESS}
JOIN_BY_INVITE: Unread = {
    f"swarm.{key}": _BY_INVITE for key in ("bootstrap", "name", "epoch_seconds", "shard_depth", "member_key")
}
_NO_TRAINING = "a bootstrap does not train"
BOOTSTRAP: Unread = {
    **dict.fromkeys(
        [
            *("seed", "rounds", "device", "threads", "policy", "strategy", "sampler", "silo_baseline"),
            *("evaluation", "checkpoint", "store", "trust", "metrics", "tracking"),
            *("swarm.poll_seconds", "swarm.join_seconds"),
        ],
        _NO_TRAINING,
    ),
}
RULES: Unread = {  # what makes a swarm another swarm
    key: _BY_INVITE for key in ("tasks", *JOIN_BY_INVITE) if key != "swarm.bootstrap"
}
BESIDE: Unread = {**BOOTSTRAP, **JOIN_BY_INVITE, "tasks": _BY_INVITE}
DEMO: Unread = {
    **{f"swarm.{key}": "the demo's own swarm has it settled" for key in ("bootstrap", "type", "member_key")},
    "metrics": "its nodes cannot share one port",
}


def with_rounds(overrides: Sequence[str], rounds: int | None) -> list[str]:
    """The overrides of a command line with `--rounds` among them. Raises ConfigError for a key given twice."""
    keys = [key_of(override) for override in overrides]
    for number, key in enumerate(keys):
        if key in keys[:number] and overrides[number] != overrides[keys.index(key)]:
            raise ConfigError(f"--set {key} is given twice, with different values: leave one out")
    if rounds is None:
        return list(overrides)
    if "rounds" in keys:
        raise ConfigError("--rounds and --set rounds are the same: leave one out")
    return [*overrides, f"rounds={rounds}"]


def refuse_unread(overrides: Sequence[str], unread: Unread, command: str) -> None:
    """Raises ConfigError for an override that the command would not read."""
    for override in overrides:
        if why := _why_unread(override, unread):
            raise ConfigError(f"--set {key_of(override)}: {command} does not read it ({why}): leave it out")


def read_by(overrides: Sequence[str], unread: Unread) -> list[str]:
    """Those that a command would read."""
    return [override for override in overrides if not _why_unread(override, unread)]


def _why_unread(override: str, unread: Unread) -> str | None:
    parts = key_of(override).split(".")
    heads = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return next((unread[head] for head in heads if head in unread), None)


def refuse_silo_type(overrides: Sequence[str], command: str) -> None:
    """Raises ConfigError for `swarm.type = silo` where the command is for a swarm."""
    for override in overrides:
        value = override.partition("=")[2].strip().strip("\"'")
        if key_of(override) == "swarm.type" and value == "silo":
            raise ConfigError(f"--set swarm.type=silo: {command} is for a swarm; `murmur silo` runs alone")


def key_of(override: str) -> str:
    """`sampler.local` of `sampler.local=3`."""
    return ".".join(part.strip() for part in override.partition("=")[0].split("."))
