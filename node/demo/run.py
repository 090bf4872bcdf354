"""`murmur demo`: a local swarm of separate node processes over a real DHT, each beside a silo baseline.

Every process is an ordinary `murmur bootstrap`, `join` or `silo`; the demo starts them, reads their event
stores and compares. A baseline starts from the same weights and seed as its node and draws as many groups a round
(SAPO's I + J), all of which it generates itself. It plays as many rounds as its node, and then goes on until it
has had as many CPU seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from node.baseline.equal_compute import even_out
from node.baseline.processes import OUTPUT_LOG, NodeProcesses
from node.baseline.uplift import answers_of
from node.config.overrides import SILO, read_by
from node.config.packages import require_packages
from node.config.reading import load_config
from node.config.schema import Config
from node.demo.early_end import end_early, saved
from node.demo.kinds import DemoKind
from node.demo.status import POLL_SECONDS, DemoNode, Role, read_status, watch
from node.demo.view import DemoView
from node.storage.claim import Undo, check_cache
from node.storage.run_folder import DEMO_SWARM, RunFolder, RunFolderError
from node.ui import interrupts
from node.ui.invocation import murmur
from policies.plain_files import read_text
from swarm.errors import TransportDown

LOOPBACK = 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]'
SAID = "murmur: "  # begins the last line of a command that failed
INVITE_SECONDS = 360.0  # for the bootstrap peer's daemon to come up on a busy machine
ROLES: tuple[Role, ...] = ("swarm", "baseline")


def run_demo(kind: DemoKind, nodes: int, settings: Sequence[str], path: Path, view: DemoView) -> int:
    """Runs one kind of demo in a new folder and shows the comparison; returns the exit code.

    `settings` are config overrides for every node; the seed of node n is n more than theirs. A node that is killed
    does not stop the others; the demo ends when all that still run are done.
    Raises ExtraMissing, RunFolderError, PolicyError, TransportDown.
    """
    shared = load_config(kind.preset, settings)
    require_packages(shared)
    seed = shared.seed or 0
    numbers = range(1, nodes + 1)
    overrides = [[*kind.profile(number), *settings, f"seed={seed + number}"] for number in numbers]
    with claimed_for_demo(path, shared.model_copy(update={"seed": seed})):
        return _play(kind, overrides, path, view)


def _play(kind: DemoKind, overrides: Sequence[Sequence[str]], path: Path, view: DemoView) -> int:
    """From the starting weights to the comparison; a list of `overrides` a node."""
    configs = [load_config(kind.preset, own) for own in overrides]
    prepare_warm_starts(configs, view)
    view.wait_for("starting the nodes")
    with NodeProcesses() as processes:
        invite = start_bootstrap(processes, kind.preset, path / DEMO_SWARM)
        view.say(f"look at the swarm from outside with:\n  {murmur('peers', invite)}")
        members = [
            start_node(processes, Place(kind.preset, number, role, path), own, invite)
            for number, own in enumerate(overrides, 1)
            for role in ROLES
        ]
        with view:
            try:
                watch(members, view.show)
                for index, member in enumerate(members):
                    members[index] = send_on(processes, member, members)
                watch(members, view.show)
                view.show([read_status(member) for member in members])  # as they ended
            except interrupts.Stopped as stopped:
                end_early(processes, members, view, stopped.number)
                raise
    if kind.picture:
        file = kind.picture(configs[0], members[0].folder, path)
        view.say(f"what node 1 drew at first, and what it draws now: {file}")
    code = view.conclude([read_status(member) for member in members], answers_of(configs[0]))
    view.check_output()
    return code


@contextmanager
def claimed_for_demo(path: Path, config: Config) -> Iterator[None]:
    """Makes the demo's folder, known as one from its first moment, and takes it away where no process began in it.

    Raises RunFolderError for one that is taken, PolicyError as `check_cache` does.
    """
    folder = RunFolder(path)
    if folder.holds_demo or folder.config.exists() or (path / DEMO_SWARM).exists():
        raise RunFolderError(f"{path} is taken: a demo begins anew, so choose another --run-dir")
    check_cache(config)
    undo = Undo(folder, lambda made: any(made.path.glob("*/*")))
    interrupts.on_leaving(partial(saved, path), lambda _: undo())
    undo.arm(None)
    try:
        folder.create(config)
        (path / DEMO_SWARM).mkdir()
        yield
    finally:
        undo()


def prepare_warm_starts(configs: Sequence[Config], view: DemoView) -> None:
    """Makes the starting weights that are not cached yet, before anything is compared."""
    from node.runtime.build import build_policy

    for number, config in enumerate(configs, 1):
        build_policy(config, partial(view.progress, f"node {number} of {len(configs)}"))


def send_on(processes: NodeProcesses, member: DemoNode, members: Sequence[DemoNode]) -> DemoNode:
    """A baseline that has had fewer CPU seconds than its node plays on until it has had as many."""
    if member.role == "swarm":
        return member
    node = next(other for other in members if (other.number, other.role) == (member.number, "swarm"))
    process = even_out(processes, node.folder, member.folder)
    return member if process is None else replace(member, process=process)


def start_bootstrap(processes: NodeProcesses, preset: str, folder: Path) -> str:
    """Starts `murmur bootstrap` on loopback and waits for its invite. Raises TransportDown if there is none."""
    process = processes.start(
        ["bootstrap", "--config", preset, "--run-dir", str(folder), "--set", LOOPBACK], folder
    )
    deadline = time.monotonic() + INVITE_SECONDS
    invite = RunFolder(folder).invite
    while not invite.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TransportDown(
                f"the bootstrap peer did not come up{last_words(folder)}; see {folder / OUTPUT_LOG}, or try "
                f"{murmur('doctor')}"
            )
        time.sleep(POLL_SECONDS)
    return read_text(invite, encoding="ascii").strip()


def last_words(folder: Path) -> str:
    """` (...)`, what a process that ended said last; empty where it said nothing, or nothing of it could be kept."""
    lines = read_text(folder / OUTPUT_LOG, encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix(SAID) for line in lines if line.startswith(SAID)]
    return f" ({said[-1]})" if said else ""


@dataclass(frozen=True, slots=True)
class Place:
    """Which node of a demo one is."""

    preset: str
    number: int
    role: Role
    demo: Path  # the demo's folder

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.demo / f"{self.role}-{self.number}")

    def verb(self, invite: str) -> list[str]:
        """A swarm node joins by the invite, its baseline runs as a silo of the same config."""
        if self.role == "baseline":
            return ["silo", self.preset]
        return ["join", invite, "--config", self.preset, "--set", LOOPBACK]


def start_node(processes: NodeProcesses, place: Place, settings: Sequence[str], invite: str) -> DemoNode:
    """Starts one node."""
    read = read_by(settings, SILO) if place.role == "baseline" else settings
    options = [word for override in read for word in ("--set", override)]
    command = [*place.verb(invite), *options, "--run-dir", str(place.folder.path), "--json"]
    return DemoNode(place.number, place.role, place.folder, processes.start(command, place.folder.path))
