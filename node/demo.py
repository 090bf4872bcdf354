"""`murmur demo`: a local swarm of separate node processes over a real DHT, each beside a silo twin.

Every process is an ordinary `murmur bootstrap`, `join` or `silo`; the demo starts them, reads their event
stores and compares. A twin starts from the same weights and seed as its node and draws as many groups a round
(SAPO's I + J), all of which it generates itself. It plays as many rounds as its node, and then goes on until it
has had as many CPU seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from node.bootstrap import INVITE
from node.config import load_config
from node.demo_view import DemoView, Member, Role, standing
from node.fleet import Fleet
from node.runfolder import RunFolder
from node.uplift import rounds_to_even
from swarm.errors import TransportDown

PRESET = "tiny"
LOOPBACK = 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]'
INVITE_SECONDS = 90.0  # for the bootstrap peer's daemon to come up on a busy machine
POLL_SECONDS = 0.5
ROLES: tuple[Role, ...] = ("swarm", "twin")

# What each node's warm start taught it: the share of right answers it saw in each task, the rest being a wrong
# habit. Each is good at something that the others hardly know, as nodes with different histories are.
PROFILES: tuple[dict[str, float], ...] = (
    {"maximum": 0.03, "shift": 0.03, "binary": 0.6},
    {"maximum": 0.6, "shift": 0.03, "binary": 0.03},
    {"maximum": 0.03, "shift": 0.6, "binary": 0.03},
)


def run_demo(nodes: int, settings: Sequence[str], path: Path, view: DemoView) -> int:
    """Runs the demo in a new folder and shows the comparison; returns the exit code.

    `settings` are config overrides for every node. A node that is killed does not stop the others; the demo
    ends when all that still run are done.
    Raises RunFolderError, PolicyError, TransportDown.
    """
    RunFolder(path).create(load_config(PRESET, settings))
    overrides = [[*profile_of(number), *settings] for number in range(1, nodes + 1)]
    prepare_warm_starts(overrides, view)
    with Fleet() as fleet:
        invite = start_bootstrap(fleet, path / "bootstrap")
        view.say(f"look at the swarm from outside with:\n  murmur peers {invite}")
        members = [
            start_member(fleet, number, role, settings, invite, path)
            for number, settings in enumerate(overrides, 1)
            for role in ROLES
        ]
        with view:
            watch(members, view)
            members = [even_out(fleet, member, members) for member in members]
            watch(members, view)
    return view.conclude([standing(member) for member in members])


def prepare_warm_starts(overrides: Sequence[Sequence[str]], view: DemoView) -> None:
    """Makes the starting weights that are not cached yet, before anything is compared."""
    from node.build import build_policy

    for number, settings in enumerate(overrides, 1):
        build_policy(load_config(PRESET, settings), partial(view.progress, f"node {number}"))


def profile_of(number: int) -> list[str]:
    """The overrides that give node `number` its own history. Its twin takes the same."""
    skills = PROFILES[(number - 1) % len(PROFILES)]
    table = ", ".join(f"{json.dumps(task)} = {share}" for task, share in skills.items())
    return [f"seed={number}", f"policy.warm_start.skills={{{table}}}"]


def watch(members: Sequence[Member], view: DemoView) -> None:
    """Shows the members until none of their processes runs."""
    while any(member.process.poll() is None for member in members):
        view.show([standing(member) for member in members])
        time.sleep(POLL_SECONDS)


def even_out(fleet: Fleet, member: Member, members: Sequence[Member]) -> Member:
    """Lets a twin that has had fewer CPU seconds than its node play on until it has had as many."""
    node = standing(
        next(other for other in members if (other.number, other.role) == (member.number, "swarm"))
    )
    rounds = rounds_to_even(standing(member).rounds, node.cpu_seconds)
    if member.role == "swarm" or rounds is None:
        return member
    command = ["run", "--resume", "--run-dir", str(member.folder.path), "--rounds", str(rounds), "--json"]
    return replace(member, process=fleet.start(command, member.folder.path))


def start_bootstrap(fleet: Fleet, folder: Path) -> str:
    """Starts `murmur bootstrap` on loopback and waits for its invite. Raises TransportDown if there is none."""
    process = fleet.start(
        ["bootstrap", "--config", PRESET, "--run-dir", str(folder), "--set", LOOPBACK], folder
    )
    deadline = time.monotonic() + INVITE_SECONDS
    while not (folder / INVITE).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TransportDown(
                f"the bootstrap peer did not come up; see {folder}/output.log, or try murmur doctor"
            )
        time.sleep(POLL_SECONDS)
    return (folder / INVITE).read_text(encoding="ascii").strip()


def start_member(
    fleet: Fleet, number: int, role: Role, settings: Sequence[str], invite: str, path: Path
) -> Member:
    """Starts one node: a swarm node joins by the invite, its twin runs as a silo of the same config."""
    folder = RunFolder(path / f"{role}-{number}")
    verb = ["join", invite, "--config", PRESET, "--set", LOOPBACK] if role == "swarm" else ["silo", PRESET]
    options = [word for override in ("threads=1", *settings) for word in ("--set", override)]
    command = [*verb, *options, "--run-dir", str(folder.path), "--json"]
    return Member(number, role, folder, fleet.start(command, folder.path))
