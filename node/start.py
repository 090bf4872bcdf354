"""Start and resumption of a run. Its folder is claimed before torch is imported, and signals say what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from node.config.packages import own_tasks, require_packages
from node.config.reading import resolved_json
from node.config.roles import as_silo, invite_in, manifest_of, resuming_verb, wants_baseline
from node.config.schema import Config, ConfigError
from node.config.sections.policy import DiffusionPolicyConfig, TextPolicyConfig
from node.config.sections.swarm import DhtConfig
from node.process_environment import environment_notices
from node.rows.kept import keep_shared, sharing_notices
from node.rows.taking import take_again
from node.storage.checkpoint import Checkpoints
from node.storage.claim import claimed_new
from node.storage.events import History
from node.storage.log_file import NODE_LOG
from node.storage.run_folder import (
    FolderLostError,
    RunFolder,
    RunFolderInUse,
    run_to_resume,
    write_atomic,
)
from node.ui import interrupts
from node.ui.invocation import murmur
from node.ui.patience import patient
from node.ui.round_columns import columns_for
from node.ui.run_view import RunView, output_style
from node.ui.standing import STANDINGS
from node.ui.terminal.window import say_lines
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.tasks import build_task
from policies.tasks.task import TaskError
from policies.text.loading.model_path import check_had, check_there
from swarm.visible_text import counted
from swarm.wire.identity import Identity


@dataclass(frozen=True, slots=True)
class Resumption:
    """What `--resume` was given beside the run folder."""

    stem: str | None  # of the folder's name, where none was named; None: of any name
    run_dir: Path | None
    rounds: int | None
    silo: bool = False  # whatever the run was before
    addresses: Sequence[str] = ()  # of `murmur join`


def start(config: Config, stem: str, run_dir: Path | None, secret: bytes = b"", *, as_json: bool) -> None:
    """Plays a new run. Raises what `build_task`, `claimed_new` and `run_session` raise."""
    keep_shared(config)
    check_sources(config)

    def guard(folder: RunFolder, undo: Callable[[], None]) -> None:
        def last_act(cause: str) -> None:
            undo()
            write_cause(folder, cause)

        interrupts.on_leaving(lambda: saved(folder), last_act)

    try:
        with claimed_new(run_dir, stem, config, secret, guard) as (folder, settled):
            _play(settled, folder, resumed=False, as_json=as_json)
    except RunFolderInUse:
        interrupts.on_leaving(lambda: "")  # what that folder keeps is another node's
        raise


def check_sources(config: Config) -> None:
    """Raises PolicyError or TaskError where the model or a task's file is gone, or not what it was. Loads no torch."""
    check_model(config)
    for task in own_tasks(config):
        with patient(f"reading what {task.name} needs"):
            build_task(task.spec)


def check_model(config: Config) -> None:
    """Raises PolicyError where the pretrained model that a config names is not there. Loads no torch."""
    if isinstance(config.policy, TextPolicyConfig):
        check_had(config.policy.model.path)
    elif isinstance(config.policy, DiffusionPolicyConfig) and isinstance(
        config.policy.source, PipelineSettings
    ):
        check_there(config.policy.source.path)


def dry_run_of(config: Config, *, as_json: bool) -> int:
    """Prints what the run's text policy would take and returns the exit code: 3 where it does not fit.

    Raises PolicyError for a model that cannot be had.
    """
    check_model(config)
    with patient("loading torch"):
        from node.runtime.build import device_of
        from node.runtime.memory import as_plain, in_lines, plan_memory

        device = device_of(config)
        fit = plan_memory(config, device)
    if as_json:
        typer.echo(json.dumps({"device": str(device), "memory": as_plain(fit) if fit else None}))
    elif fit is None:
        policy = config.policy.type
        say_lines(f"the config is sound; memory is planned for pretrained text models, and this is {policy}")
    else:
        say_lines("\n".join(in_lines(fit, device)))
    return 0 if fit is None or fit.fits else 3


def resume(asked: Resumption, *, as_json: bool) -> None:
    """Plays the rest of a run under the config that it was started with; only its length may change.

    Raises RunFolderError, ConfigError, ExtraMissing, InviteError, and what `run_session` raises.
    """
    folder = RunFolder(asked.run_dir) if asked.run_dir else run_to_resume(asked.stem)
    config = folder.read_config()
    verb = resuming_verb(config, alone=asked.silo)
    require_packages(config)
    with folder.held() as folder:
        config = _with_rounds(config, asked.rounds, folder)
        joined = _with_addresses(config, asked.addresses, folder)
        interrupts.on_leaving(lambda: saved(folder, verb), partial(write_cause, folder))
        if not asked.silo:
            joined = take_again(joined, folder.read_secret())
            keep_shared(joined)
        if asked.rounds is not None:
            write_atomic(folder.config, resolved_json(config))
        played = as_silo(config) if asked.silo else joined
        if is_over(played, folder):
            refuse_unjudged(played, folder)
            if not as_json:
                say_lines(_over(played, folder, verb))
            return
        check_sources(played)
        _play(played, folder, resumed=True, as_json=as_json)


def is_over(config: Config, folder: RunFolder) -> bool:
    """Whether the run came to its end, its silo baseline too, so that nothing is left to play."""
    if (Checkpoints(folder.checkpoints, 1).newest() or 0) < config.rounds:
        return False
    told = [event.what for event in History(folder.events).life()]
    newest = next((what for what in reversed(told) if what in STANDINGS), "")
    return newest == "finished" and (not wants_baseline(config) or "baseline" in told)


def refuse_unjudged(config: Config, folder: RunFolder) -> None:
    """Raises TaskError where all rounds were played and none had a verdict: no supervisor shall take it for done."""
    if not is_over(config, folder):
        return
    played = History(folder.events).rounds()
    if played and all(event.unjudged and not event.trained_external for event in played):
        interrupts.on_leaving(lambda: "")  # there is nothing to go on with
        raise TaskError(
            f"no rollout of the {counted(len(played), 'round')} in {folder.path} had a verdict, so nothing was learned "
            f"and its weights are those that it began with: mend what {folder.logs / NODE_LOG} names, try it with "
            f"{murmur('tasks', 'check', 'FILE')}, and start a new run"
        )


def _over(config: Config, folder: RunFolder, verb: str) -> str:
    played = Checkpoints(folder.checkpoints, 1).newest() or config.rounds  # more, where the config was edited
    more = murmur(verb, "--resume", "--run-dir", folder.path, "--rounds", 2 * played)
    return (
        f"{folder.path} has played all of its {counted(played, 'round')}; --rounds says how many in all, so it "
        f"goes on with: {more}; look at it: {murmur('stats', folder.path)}"
    )


def write_cause(folder: RunFolder, cause: str) -> None:
    """Keeps what ended a run at once, for whoever looks at it later; nothing where the folder holds no run."""
    if folder.config.exists():
        write_atomic(folder.cause, f"{cause}\n")


def saved(folder: RunFolder, verb: str = "run") -> str:
    """What the run's folder keeps of it, and how to go on: by `murmur silo` what was in a swarm stays out of it."""
    if folder.holds_demo:
        return ""
    if not folder.config.exists():
        return "nothing was saved"
    newest = Checkpoints(folder.checkpoints, 1).newest()
    kept = "no round was saved yet" if newest is None else f"saved is round {newest}"
    return f"{kept}; go on with: {murmur(verb, '--resume', '--run-dir', folder.path)}"


def _with_rounds(config: Config, rounds: int | None, folder: RunFolder) -> Config:
    if rounds is None:
        return config
    done = Checkpoints(folder.checkpoints, config.checkpoint.keep).newest() or 0
    if rounds < max(done, 1):
        raise ConfigError(
            f"--rounds {rounds}: it counts all rounds of a run, and {folder.path} has played {done}: set {done + 1} "
            "or more"
        )
    return config.model_copy(update={"rounds": rounds})


def _with_addresses(config: Config, addresses: Sequence[str], folder: RunFolder) -> Config:
    """A swarm node comes back by the addresses that it is given now; those of another swarm are refused."""
    if not addresses:
        return config
    if not isinstance(config.swarm, DhtConfig):
        raise ConfigError(
            f"{folder.path} holds a silo's run: {murmur('run', '--resume', '--run-dir', folder.path)}"
        )
    invite = invite_in(addresses)
    if invite and invite.manifest.swarm_id != manifest_of(config).swarm_id:
        raise ConfigError(
            f"{folder.path} holds a run in another swarm than the invite's: leave out the invite to go on "
            "there, or leave out --resume to join this one"
        )
    ways = invite.bootstrap if invite else tuple(addresses)
    return config.model_copy(update={"swarm": config.swarm.model_copy(update={"bootstrap": ways})})


def _play(config: Config, folder: RunFolder, *, resumed: bool, as_json: bool) -> None:
    folder.cause.unlink(missing_ok=True)  # of the session before
    view = RunView(output_style(as_json=as_json), str(folder.path), columns_for(config))
    view.say(f"run folder {folder.path}")
    for notice in (
        *environment_notices(),
        *_key_notices(config, folder, resumed=resumed),
        *sharing_notices(config),
    ):
        view.say(notice)
    with view.patience.watching("loading torch"):
        from node.baseline.silo_baseline import run_with_baseline
        from node.runtime.session import run_session

        play = run_with_baseline if wants_baseline(config) else run_session
        try:
            play(config, folder, view, resumed=resumed)
        except FolderLostError as lost:
            moved = lost.moved  # what lies at the old path now is not this run's
            interrupts.on_leaving(lambda: saved(RunFolder(moved)) if moved else "")
            raise
    view.check_output()
    refuse_unjudged(config, folder)


def _key_notices(config: Config, folder: RunFolder, *, resumed: bool) -> list[str]:
    """Reads the node's key, or makes one, before torch is imported. Raises IdentityError for one that is damaged.

    Also of a silo it is told: its run may have been in a swarm before, and may come back to it.
    """
    key = folder.identity(config)
    lost = resumed and not key.exists()
    peer = Identity.load_or_create(key).peer_id
    if not lost:
        return []
    if isinstance(config.swarm, DhtConfig):
        then = f"it goes on as {peer}, whom its peers do not know yet"
    else:
        then = f"a new one was made, and in a swarm it would be {peer}, whom nobody knows; alone it goes on as before"
    return [
        f"{key} was gone, and with it who this node was: {then}; to be known as before, stop it and put the file back"
    ]
