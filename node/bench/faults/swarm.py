"""The swarm that `murmur bench faults` breaks: ordinary node processes, each on a host of the network lab."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from node.baseline.processes import NodeProcesses
from node.bench.faults.report import NodeRecord
from node.bench.kit.identities import keep_seeded_key
from node.bench.kit.options import BenchError
from node.bench.netlab.lab import Host, Lab
from node.storage.events import ExternalEvent, History, PeerEvent, RoundEvent, own_peer
from node.storage.run_folder import RunFolder
from node.ui.invocation import murmur

PRESET = "tiny"
SEED = 0  # of which packets are lost, and of the nodes' names
NODES = 6
START_SECONDS = 240.0  # for all nodes to share; each imports torch twice
DEATH_SECONDS = 5.0  # for the transport process and the daemon to follow a killed node
POLL_SECONDS = 0.1
# Short rounds without end. A round draws about as many groups of peers as arrive in it: with fewer, nodes have
# enough in stock for many rounds, and rest from fetching just when a fault is over.
SETTINGS = (
    "threads=1",
    "evaluation.problems=0",
    "rounds=1000000",
    "sampler.local=2",
    "sampler.external=8",
)


@dataclass(slots=True)
class Member:
    """One node of the swarm."""

    name: str
    host: Host
    folder: RunFolder
    process: Popen[bytes]

    @property
    def history(self) -> History:
        return History(self.folder.events)

    @property
    def resumed(self) -> int:
        """How often it went on from a checkpoint."""
        return sum(event.what == "resumed" for event in self.history.life())

    @property
    def peer(self) -> str:
        return own_peer(self.history.life())


@dataclass(slots=True)
class TestedSwarm:
    """A bootstrap peer and NODES nodes, all running and sharing once `start` has returned."""

    lab: Lab
    processes: NodeProcesses
    path: Path
    members: list[Member] = field(default_factory=list)
    bootstrap: Member | None = None  # None before the start, and when it is gone for good

    @property
    def everybody(self) -> list[Member]:
        return [*self.members, *([self.bootstrap] if self.bootstrap else [])]

    def start(self) -> None:
        """Raises BenchError when the nodes do not come to share."""
        invite = self._start_bootstrap()
        for number in range(1, NODES + 1):
            settings = (*SETTINGS, f"seed={number}")
            options = [word for setting in settings for word in ("--set", setting)]
            name = f"node-{number}"
            folder = self.path / name
            command = ["join", invite, "--config", PRESET, *options, "--run-dir", str(folder), "--json"]
            self.members.append(self._launch(name, self.lab.host(name), command))
        self.wait(
            lambda: all(any(event.received for event in m.history.rounds()) for m in self.members),
            START_SECONDS,
            "the nodes to share",
        )

    def kill(self, victims: Sequence[Member]) -> int:
        """Kills the node processes with SIGKILL, all at once; returns how many of theirs outlive them."""
        for victim in victims:
            victim.process.kill()
        for victim in victims:
            victim.process.wait()
        left = outliving([victim.host for victim in victims])
        for victim in victims:
            victim.host.kill()
        return left

    def restart(self, victims: Sequence[Member]) -> None:
        """Lets killed nodes go on from their last checkpoints; returns when they play rounds again."""
        before = [victim.resumed for victim in victims]
        for victim in victims:
            command = ["run", "--resume", "--run-dir", str(victim.folder.path), "--json"]
            victim.process = self._launch(victim.name, victim.host, command).process
        self.wait(
            lambda: all(v.resumed > times for v, times in zip(victims, before, strict=True)),
            START_SECONDS,
            "the killed nodes",
        )

    def wait(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Raises BenchError when `what` has not come about after `seconds`, or a node has ended meanwhile."""
        deadline = time.monotonic() + seconds
        while not true():
            ended = [member for member in self.everybody if member.process.poll() is not None]
            if ended or time.monotonic() > deadline:
                cause = f"{ended[0].name} ended" if ended else f"waited {seconds:g} s"
                where = f"{self.path}/*/output.log and */logs"
                raise BenchError(f"no sign of {what}: {cause}; see {where}, or try {murmur('doctor')}")
            time.sleep(POLL_SECONDS)

    def records(self, begin: float, end: float) -> list[NodeRecord]:
        """What each node did between two moments, in Unix seconds, by the names of the nodes."""
        names = {member.peer: member.name for member in self.members}
        return [_record(member, names, begin, end) for member in self.members]

    def _start_bootstrap(self) -> str:
        folder = self.path / "bootstrap"
        command = ["bootstrap", "--config", PRESET, "--run-dir", str(folder), "--json"]
        self.bootstrap = self._launch("bootstrap", self.lab.host("bootstrap"), command)
        invite = RunFolder(folder).invite
        self.wait(invite.exists, START_SECONDS, "the bootstrap peer's invite")
        return invite.read_text(encoding="ascii").strip()

    def _launch(self, name: str, host: Host, command: Sequence[str]) -> Member:
        run = RunFolder(self.path / name)
        keep_seeded_key(run.path / "identity.key", SEED, "faults", name)
        with host.inside():
            process = self.processes.start(command, self.path / name)
        return Member(name, host, run, process)


def outliving(hosts: Iterable[Host]) -> int:
    """Processes that still run on `hosts` when all of them have had the time to end."""
    hosts, deadline = list(hosts), time.monotonic() + DEATH_SECONDS
    while (left := sum(len(host.pids()) for host in hosts)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left


def _record(member: Member, names: dict[str, str], begin: float, end: float) -> NodeRecord:
    rounds, peers, external = (member.history.timed(kind) for kind in ("round", "peer", "external"))
    ended = [(at, event) for at, event in rounds if isinstance(event, RoundEvent) and begin <= at < end]
    dealt = [(at, event) for at, event in peers if isinstance(event, PeerEvent) and begin <= at < end]
    trained = [event for _, event in external if isinstance(event, ExternalEvent)]
    return NodeRecord(
        node=member.name,
        rounds=tuple(at for at, _ in ended),
        deliveries=tuple((at, names.get(event.peer, event.peer), event.received) for at, event in dealt),
        trained=tuple((event.peer, event.task, event.seed) for event in trained),
        replays=sum(event.refused.get("replay", 0) for _, event in dealt),
    )
