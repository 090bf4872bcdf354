"""`murmur demo`: a local swarm of separate node processes over a real DHT, each beside a silo twin.

Every process is an ordinary `murmur bootstrap`, `join` or `silo`; the demo starts them, reads their event
stores and compares. A twin starts from the same weights and seed as its node, plays as many rounds, and trains
on as many groups a round, all of which it generates itself: it never has less compute than its node.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from node.bootstrap import INVITE
from node.config import load_config
from node.demo_view import DemoView, Member, Role, standing
from node.fleet import Fleet
from node.runfolder import RunFolder
from swarm.errors import TransportDown

PRESET = "tiny"
LOOPBACK = 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]'
INVITE_SECONDS = 90.0  # for the bootstrap peer's daemon to come up on a busy machine
POLL_SECONDS = 0.5
ROLES: tuple[Role, ...] = ("swarm", "twin")

# What each node's warm start taught it: the share of right answers it saw in each task, the rest being a wrong
# habit. Each is good at something that the others hardly know, as nodes with different histories are.
PROFILES: tuple[dict[str, float], ...] = ()


def run_demo(nodes: int, rounds: int, path: Path, view: DemoView) -> int:
    """Runs the demo in a new folder and shows the comparison; returns the exit code.

    A node that is killed does not stop the others; the demo ends when all that still run are done.
    Raises RunFolderError, PolicyError, TransportDown.
    """
    RunFolder(path).create(load_config(PRESET))
    prepare_warm_starts(nodes, view)
    with Fleet() as fleet:
        invite = start_bootstrap(fleet, path / "bootstrap")
        view.say(f"look at the swarm from outside with:\n  murmur peers {invite}")
        members = [
            start_member(fleet, n, role, rounds, invite, path) for n in range(1, nodes + 1) for role in ROLES
        ]
        with view:
            while any(member.process.poll() is None for member in members):
                view.show([standing(member) for member in members])
                time.sleep(POLL_SECONDS)
    return view.conclude([standing(member) for member in members])


def prepare_warm_starts(nodes: int, view: DemoView) -> None:
    """Makes the starting weights that are not cached yet, with all cores and before anything is timed."""
    from node.build import build_policy

    for number in range(1, nodes + 1):
        config = load_config(PRESET, profile_of(number))
        build_policy(
            config, lambda what, done, total, n=number: view.progress(f"node {n}: {what}", done, total)
        )


def profile_of(number: int) -> list[str]:
    """The overrides that give node `number` its own history. Its twin takes the same."""
    skills = PROFILES[(number - 1) % len(PROFILES)]
    table = ", ".join(f"{json.dumps(task)} = {share}" for task, share in skills.items())
    return [f"seed={number}", f"policy.warm_start.skills={{{table}}}"]


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


def start_member(fleet: Fleet, number: int, role: Role, rounds: int, invite: str, path: Path) -> Member:
    """Starts one node: a swarm node joins by the invite, its twin runs as a silo of the same config."""
    folder = RunFolder(path / f"{role}-{number}")
    verb = ["join", invite, "--config", PRESET, "--set", LOOPBACK] if role == "swarm" else ["silo", PRESET]
    settings = [word for override in (*profile_of(number), "threads=1") for word in ("--set", override)]
    command = [*verb, *settings, "--rounds", str(rounds), "--run-dir", str(folder.path), "--json"]
    return Member(number, role, folder, fleet.start(command, folder.path))
