"""Taking rows: what an invite names and this node lacks, from the hub or piece by piece from members of the swarm."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from node.config.data_manifest import HUB, MIB, PIECES
from node.config.roles import manifest_of
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import DhtConfig
from node.config.sections.tasks import TaskConfig
from node.rows.consent import Offer, agree, amount
from node.rows.kept import is_kept, make_room, root_of, row_store, with_kept_rows
from node.ui import interrupts
from node.ui.patience import patient
from node.ui.terminal.window import say_aside
from policies.tasks.data_task import SIZE, SOURCE, build_data_task, is_data
from policies.tasks.task import TaskError
from swarm.errors import DecodeError, FetchFailed, TransportDown, TransportError
from swarm.network.ipc import DhtSettings
from swarm.rows.pieces import PieceList, list_length
from swarm.rows.row_store import RowStore, StoreBusy
from swarm.rows.rows_fetch import Wanted
from swarm.transport.dht import DhtTransport

PATIENCE = 120.0  # seconds without a piece before it is given up; what came is kept
PAUSE = 2.0
TOLD = 5.0  # seconds between lines on the progress
AGAIN = "what came of the rows is kept: the same command goes on with it"

Ask = Callable[[Wanted], bytes]


def take_rows(config: Config, secret: bytes, *, accept: bool) -> Config:
    """The config with rows for every data task whose rows the invite says how to get, once the owner agreed.

    `secret` is of a private swarm. Raises ConfigError without the owner's word or beyond what the node takes,
    TaskError for rows of the hub that are not those meant, TransportError where no member has them.
    """
    config = with_kept_rows(config)
    offers = [Offer(task) for task in config.tasks if _is_wanting(task, config)]
    if not offers:
        return config
    _check_sizes(offers, config)
    agree(offers, config, accept=accept)
    interrupts.on_leaving(lambda: AGAIN)
    tasks = tuple(_from_hub(task) if _is_wanting(task, config) else task for task in config.tasks)
    return _from_swarm(config.model_copy(update={"tasks": tasks}), secret)


def take_again(config: Config, secret: bytes) -> Config:
    """Fetches rows that a run took from its swarm and whose file is gone since or damaged."""
    store = row_store()
    lost = [task for task in config.tasks if (root := root_of(task)) and is_kept(task, root)]
    missing = [task for task in lost if not store.find(root_of(task) or b"")]
    if not missing:
        return config
    say_aside(f"the rows of {', '.join(task.name for task in missing)} are gone from {store.folder}")
    tasks = tuple(task.model_copy(update={"path": ""}) if task in missing else task for task in config.tasks)
    return _from_swarm(config.model_copy(update={"tasks": tasks}), secret)


def _is_wanting(task: TaskConfig, config: Config) -> bool:
    """Whether rows are to be had that the node lacks; a policy that draws images leaves them to others."""
    offered = PIECES in task.params or SOURCE in task.params
    return is_data(task.name) and not task.path and offered and config.policy.type != "diffusion"


def _check_sizes(offers: list[Offer], config: Config) -> None:
    most = config.swarm.traffic.rows if isinstance(config.swarm, DhtConfig) else 0.0
    for task in (offer.task for offer in offers):
        size = int(task.params.get(SIZE, 0))
        if size > most * MIB and SOURCE not in task.params:
            raise ConfigError(
                f"{task.name}: the swarm shares {amount(size)} of rows, and this node takes at most {most:g} MB: add "
                f"--set swarm.traffic.rows={-(-size // MIB)}, or ask whoever invited you for the file"
            )


def _from_hub(task: TaskConfig) -> TaskConfig:
    """With the hub's rows where the invite names them and they are those that it means."""
    if SOURCE not in task.params:
        return task
    found = {"path": str(task.params[SOURCE]), **{key: str(task.params.get(key, "")) for key in HUB}}
    there = task.model_copy(update=found)
    try:
        build_data_task(there.spec)
    except TaskError as error:
        if PIECES not in task.params:
            raise
        say_aside(f"{error}; asking the swarm instead")
        return task
    return there


def _from_swarm(config: Config, secret: bytes) -> Config:
    wanting = [task for task in config.tasks if root_of(task) and _is_wanting(task, config)]
    if not wanting or not isinstance(config.swarm, DhtConfig):
        return config
    settings = DhtSettings(
        manifest_of(config),
        config.swarm.bootstrap,
        listen=(),
        client_mode=True,
        lan=config.swarm.lan,
        start_timeout=PATIENCE,
        secret=secret,
    )
    with (
        closing(DhtTransport(settings)) as transport,
        patient("joining the swarm to ask for rows") as patience,
    ):
        transport.wait_ready()
        patience.begin("asking members for rows")
        for task in wanting:
            began = time.monotonic()
            fetch_rows(task, row_store(), transport.rows)
            say_aside(f"{task.name}: rows taken in {time.monotonic() - began:.1f} s")
    make_room(config)
    return with_kept_rows(config)


def fetch_rows(task: TaskConfig, store: RowStore, ask: Ask) -> Path:
    """The file of a task's shared rows, fetched from its first missing piece on. Raises TransportError, OSError."""
    root, size = root_of(task) or b"", int(task.params[SIZE])
    listed = _patiently(task, ask, Wanted(root, 0, list_length(size), root))
    try:
        pieces = PieceList.decode(listed, size)
    except DecodeError as error:  # its digest is right: the invite contradicts itself
        raise ConfigError(f"{task.name}: {error}: ask for a new invite") from error
    try:
        with store.draft(pieces) as draft:
            told = time.monotonic()
            if draft.held:
                say_aside(f"{task.name}: {draft.held} of {len(pieces.digests)} pieces are here already")
            while draft.held < len(pieces.digests):
                number = draft.held
                wanted = Wanted(root, number + 1, pieces.length(number), pieces.digests[number])
                draft.add(_patiently(task, ask, wanted))
                if time.monotonic() > told + TOLD:
                    told = time.monotonic()
                    say_aside(f"{task.name}: {draft.held} of {len(pieces.digests)} pieces")
            return draft.land()
    except StoreBusy as error:
        raise TransportError(f"{task.name}: {error}: wait for it, then run this command again") from error


def _patiently(task: TaskConfig, ask: Ask, wanted: Wanted) -> bytes:
    """A piece, asked for again while members rest or the swarm is away. Raises TransportError with the last cause."""
    deadline, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            return ask(wanted)
        except (FetchFailed, TransportDown) as error:
            if time.monotonic() > deadline:
                raise TransportError(
                    f"{task.name}: no member gives its rows ({error}); {AGAIN}. Are those who have them online?"
                ) from error
            if not told:
                say_aside(f"{task.name}: no member gives its rows yet ({error}); asking on")
                told = True
            time.sleep(PAUSE)
