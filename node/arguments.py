"""Options of a command made into a checked config or a resumption; whatever would not be read is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from node.config.data_files import with_digests
from node.config.overrides import (
    ALONE,
    BESIDE,
    BOOTSTRAP,
    DEMO,
    JOIN_BY_ADDRESS,
    JOIN_BY_INVITE,
    RULES,
    SILO,
    key_of,
    read_by,
    refuse_silo_type,
    refuse_unread,
    with_rounds,
)
from node.config.packages import require_packages
from node.config.reading import load_config
from node.config.roles import as_silo, as_swarm_node, invite_in
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import SiloConfig
from node.rows.kept import with_kept_rows
from node.start import Resumption
from node.storage.run_folder import RunFolder, no_run
from node.ui.invocation import murmur
from node.ui.patience import patient
from swarm.discovery.named_invite import NamedInvite, is_named
from swarm.errors import InviteError, TransportDown
from swarm.wire.invite import Invite

if TYPE_CHECKING:
    from node.runtime.serve_bootstrap import Bootstrap

DEFAULT_PRESET = "tiny"


def invite_text(text: str) -> str:
    """An invite as it is pasted, or what lies behind its name. Raises InviteError, TransportDown."""
    return NamedInvite.parse(text).fetch().encode() if is_named(text) else text


def swarm_or_run(word: str | None, run_dir: Path | None) -> tuple[str | None, Path | None]:
    """One plain argument as an invite or as a run's folder: one that is there, or a path that leads to no file.

    Raises ConfigError where `run_dir` names a run beside it, and for a bare word that is neither.
    """
    text = word or ""
    address = is_named(text) or ":" in text or text.startswith(("/ip4/", "/ip6/", "/dns"))
    # Path's own questions raise for a name that is too long.
    is_folder, is_file = os.path.isdir(text), os.path.isfile(text)  # noqa: PTH112, PTH113
    if not (is_folder or ("/" in text and not address and not is_file)):
        if run_dir is None and re.fullmatch(r"[\w-]+", text) and not is_file:
            _refuse_unless_invite(text)
        return word or None, run_dir
    if run_dir is not None:
        raise ConfigError("murmur peers takes a run as its argument or by --run-dir: leave one out")
    return None, Path(text)


def _refuse_unless_invite(word: str) -> None:
    try:
        Invite.decode(word)
    except InviteError as error:
        raise ConfigError(f"{no_run(word[:60])}; and it is no invite: {error}") from None


def with_invite(addresses: Sequence[str], *, resumed: bool) -> list[str]:
    """What a node joins by, with the invite in place of its name. A run that is resumed knows peers of before, so a
    name that cannot be asked is told and left. Raises InviteError, TransportDown.
    """
    for address in addresses:
        refuse_run(address)
    try:
        return [invite_text(address) for address in addresses]
    except (InviteError, TransportDown) as error:
        if not resumed or not any(map(is_named, addresses)):
            raise
        typer.echo(f"murmur: {error}; the run goes on with the peers that it knows", err=True)
        return []


def refuse_run(source: str) -> None:
    """Raises ConfigError for a run's folder in the place of a config or an invite: `--run-dir` names it."""
    if os.path.isfile(f"{source}/config.json"):  # noqa: PTH113  Path's own raises for a name that is too long
        again = murmur("run", "--resume", "--run-dir", source)
        raise ConfigError(f"{source} holds a run, and --run-dir names it; it goes on with: {again}")


def run_config(source: str, overrides: Sequence[str], rounds: int | None) -> Config:
    """Raises ConfigError, ExtraMissing."""
    refuse_run(source)
    try:
        config = load_config(source, with_rounds(overrides, rounds))
    except ConfigError as error:
        if not any(word.replace(" ", "").replace('"', "") == "swarm.type=silo" for word in overrides):
            raise
        raise ConfigError(f"{error}; without its swarm it runs by: {murmur('silo', source)}") from None
    if isinstance(config.swarm, SiloConfig):
        refuse_unread(overrides, ALONE, "a run without a swarm")
    return _checked(config)


def silo_config(source: str, overrides: Sequence[str], rounds: int | None) -> Config:
    """Raises ConfigError."""
    refuse_run(source)
    refuse_unread(overrides, SILO, "murmur silo")
    config = as_silo(load_config(source, with_rounds(overrides, rounds), for_role=True))
    return _checked(config.model_copy(update={"silo_baseline": False}))


def _checked(config: Config) -> Config:
    """With digests of its data. Raises ExtraMissing where a package is missing that the run would need."""
    require_packages(config)
    with patient("reading what the tasks need"):
        return with_digests(config)


def join_config(
    addresses: Sequence[str], source: str | None, overrides: Sequence[str], rounds: int | None
) -> tuple[Config, bytes]:
    """The config of a node that joins, and the secret of a private swarm.

    Tasks of a config that was named and that the swarm does not have are told on standard error. Raises ConfigError,
    InviteError.
    """
    own, joined, secret = _joined(addresses, source or DEFAULT_PRESET, overrides, rounds)
    if source is not None and (strange := _strange_tasks(own, joined)):
        typer.echo(
            f"murmur: {source} asks for {', '.join(strange)}, which this swarm does not train: its tasks are "
            f"{', '.join(task.name for task in joined.tasks)}, and the node takes those. For your own found a swarm: "
            f"{murmur('bootstrap', '--config', source)}",
            err=True,
        )
    return joined, secret


def _joined(
    addresses: Sequence[str], source: str, overrides: Sequence[str], rounds: int | None
) -> tuple[Config, Config, bytes]:
    """The config as it was named, as that of a node of the swarm, and the swarm's secret."""
    if not addresses:
        raise ConfigError("murmur join takes an invite, as murmur bootstrap prints it, or --resume")
    invite = invite_in(addresses)
    refuse_unread(overrides, JOIN_BY_INVITE if invite else JOIN_BY_ADDRESS, "murmur join")
    refuse_silo_type(overrides, "murmur join")
    keys = set(map(key_of, overrides))
    config = load_config(source, with_rounds(overrides, rounds), for_role=True)
    if invite and "tasks" in keys:
        _refuse_strange_tasks(config, as_swarm_node(config, addresses))
    asked = bool(keys & {"sampler", "sampler.external"})
    joined = _checked(as_swarm_node(config, addresses, keep_sampler=asked))
    return config, with_kept_rows(joined), invite.secret if invite else b""


def joined_config(addresses: Sequence[str], source: str | None, overrides: Sequence[str]) -> Config | None:
    """The config alone; None where no swarm is known to join. Raises ConfigError, InviteError."""
    return _joined(addresses, source or DEFAULT_PRESET, overrides, None)[1] if addresses else None


def bootstrap_asked(
    source: str | None, overrides: Sequence[str], run_dir: Path, beside: str | None, *, private: bool
) -> Bootstrap:
    """`beside` may be the name of an invite. Raises ConfigError, InviteError, TransportDown."""
    from node.runtime.serve_bootstrap import Bootstrap

    beside = invite_text(beside) if beside else None
    refuse_unread(overrides, BESIDE if beside else BOOTSTRAP, "murmur bootstrap")
    refuse_silo_type(overrides, "murmur bootstrap")
    config = load_config(source or DEFAULT_PRESET, with_rounds(overrides, None), for_role=True)
    again = [*(["--config", source] if source else []), *(word for o in overrides for word in ("--set", o))]
    return Bootstrap(
        config if beside else with_digests(config),
        run_dir,
        beside,
        private,
        names_swarm=source is not None or len(read_by(overrides, RULES)) < len(overrides),
        again=(*again, "--beside", beside) if beside and again else tuple(again),
    )


def demo_settings(overrides: Sequence[str], rounds: int | None) -> list[str]:
    """Raises ConfigError."""
    refuse_unread(overrides, DEMO, "murmur demo")
    return with_rounds(overrides, rounds)


def check_picture(file: Path | None) -> None:
    """Raises ConfigError where the picture of a demo could not be written at its end."""
    if file is not None and (file.is_dir() or not os.access(file.absolute().parent, os.W_OK)):
        raise ConfigError(
            f"--picture {file}: no file can be written there: name one in a folder that is there"
        )


def resumption(  # noqa: PLR0913  the options of three commands
    stem: str | None,
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
    if config is not None and run_dir is None:
        refuse_run(config)
        if "/" in config and not os.path.isfile(config):  # noqa: PTH113  Path's own raises for a name that is too long
            raise ConfigError(no_run(config))
    if config is not None and (command != "run" or run_dir is not None):
        raise ConfigError(f"a resumed run keeps its config: leave out {config!r}")
    return Resumption(stem, run_dir, rounds, silo=command == "silo", addresses=tuple(addresses))


def holds_run(run_dir: Path | None, *, resume: bool) -> bool:
    """Of `--resume-or-start`: whether there is a run to go on with. Raises ConfigError where it cannot be asked."""
    if resume:
        raise ConfigError("--resume and --resume-or-start: leave one out")
    if run_dir is None:
        raise ConfigError("--resume-or-start goes by what the run folder holds: name it with --run-dir")
    return RunFolder(run_dir).config.exists()


def repeated(
    chosen: Callable[[], Config | None],
    rounds: int | None,
    run_dir: Path | None,
    addresses: Sequence[str] = (),
    *,
    command: str = "run",
) -> Resumption:
    """The resumption of a run by the very command that started it, whose config is not read again.

    What the command would start today and the run was not started with is told on standard error. A config that can
    no longer be read is no reason to stay down; nor is an invite that cannot be fetched, without which `chosen` gives
    None and nothing is told.
    """
    assert run_dir is not None, "holds_run asks for it"
    kept = RunFolder(run_dir).read_config()
    try:
        today = chosen()
        changed = _differences(today, kept, rounds) if today else []
    except (ConfigError, InviteError) as error:
        changed = [str(error).partition("\n")[0]]
    if changed:
        typer.echo(
            f"murmur: {run_dir} goes on with the config that it was started with; the command's differs in: "
            f"{', '.join(changed)}",
            err=True,
        )
    return Resumption("", run_dir, rounds, silo=command == "silo", addresses=tuple(addresses))


def _differences(chosen: Config, kept: Config, rounds: int | None) -> list[str]:
    """Dotted keys in which two configs differ, but for those that a start or a resumption settles by itself."""
    settled = {"swarm.bootstrap"}
    settled |= {"seed"} if chosen.seed is None else set()
    settled |= {"rounds"} if rounds is not None else set()
    ours, theirs = dict(_leaves(chosen.model_dump(mode="json"))), dict(_leaves(kept.model_dump(mode="json")))
    keys = sorted(ours.keys() | theirs.keys())
    return [key for key in keys if ours.get(key) != theirs.get(key) and key not in settled]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for key, part in value.items():
        yield from _leaves(part, f"{path}.{key}" if path else key)


def _strange_tasks(config: Config, joined: Config) -> list[str]:
    """Names of the config's tasks that the swarm does not have, with these parameters."""
    known = {task.key for task in joined.tasks}
    return [task.name for task in config.tasks if task.key not in known]


def _refuse_strange_tasks(config: Config, joined: Config) -> None:
    """Of `--set tasks` a joining node reads the weights alone; tasks that the swarm does not have are refused."""
    if strange := _strange_tasks(config, joined):
        raise ConfigError(
            f"--set tasks: the invite's swarm has no {', '.join(strange)} with these parameters; it has "
            f"{', '.join(task.name for task in joined.tasks)}"
        )
