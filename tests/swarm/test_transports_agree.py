"""The in-memory transport is a fair stand-in: the same bodies give the same training inputs over the real DHT."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing

import numpy as np
import pytest
from fakes import encode

from policies.rollout import Finish, Group, Rollout, Segment
from policies.tasks import build_task
from policies.tasks.task import Task, TaskSpec
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.gossip.service import Gossip
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.group_selection import uniform_over_groups, uniform_over_peers
from swarm.sampling.sampler import Mix, draw_batch
from swarm.transport.base import Transport
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.transport.in_memory import MemoryHub
from swarm.wire.manifest import Manifest

pytestmark = pytest.mark.swarm

MANIFEST = Manifest("alike", (TaskSpec("sort"), TaskSpec("maximum")))
TASKS: Mapping[str, Task] = {task.name: task for task in map(build_task, MANIFEST.tasks)}
PATIENCE = 60.0  # seconds that a loaded machine may take
SENDERS = ("alice", "bob")


def answered(task: Task, seed: int, sender: str) -> Group:
    """Some right answers, some wrong ones that tell who wrote them."""
    problem = task.problem(seed)
    texts = [problem.answer] * (1 + seed % 3) + [f"{sender} cannot say", f"{sender} guesses {seed}"]
    rollouts = [Rollout(text, (Segment(0, encode(text, Finish.STOP)),), Finish.STOP) for text in texts]
    return Group(problem, tuple(r.scored(task.score(problem, r.text)) for r in rollouts))


def exchange(transports: Mapping[str, Transport], peers: Mapping[str, str]) -> ExternalPool:
    """Carol's pool after alice and bob have each published three groups of both tasks."""
    pools = {name: ExternalPool() for name in transports}
    gossips = {}
    for name, transport in transports.items():
        verifier = RolloutVerifier(MANIFEST.swarm_id, peers[name], TASKS, encode, time.time)
        gossips[name] = Gossip(transport, verifier, pools[name], time.time, np.random.default_rng(0))
    for place, name in enumerate(SENDERS):
        groups = [answered(task, 10 * place + seed, name) for task in TASKS.values() for seed in range(3)]
        gossips[name].publish(groups, round=1, policy_version=1, fingerprint="tiny")
        gossips[name].step()
    deadline = time.monotonic() + PATIENCE
    while len(pools["carol"]) < 6 * len(SENDERS):
        assert time.monotonic() < deadline, f"carol has {pools['carol'].counts()}"
        gossips["carol"].step()
        time.sleep(0.05)
    return pools["carol"]


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DhtTransport]]:
    folder = tmp_path_factory.mktemp("alike")
    with ExitStack() as stack:
        joined: dict[str, DhtTransport] = {}
        addresses: tuple[str, ...] = ()
        for name in ("carol", *SENDERS):
            settings = DhtSettings(MANIFEST, addresses, lifetime=300.0, log=folder / f"{name}.log")
            joined[name] = stack.enter_context(closing(DhtTransport(settings, folder / f"{name}.key")))
            joined[name].wait_ready()
            addresses = addresses or joined[name].status().addresses
        yield joined


def test_the_same_bodies_give_the_same_training_inputs(flock: dict[str, DhtTransport]) -> None:
    peers = {name: transport.peer_id for name, transport in flock.items()}
    hub = MemoryHub(MANIFEST.swarm_id, time.time)
    over_dht = exchange(flock, peers).snapshot()
    in_memory = exchange({name: hub.join(peers[name]) for name in flock}, peers).snapshot()
    mixes = [Mix(4, 4, select) for select in (uniform_over_groups, uniform_over_peers)]
    for mix in mixes:
        batches = []
        for snapshot in (over_dht, in_memory):
            pool = ExternalPool()
            pool.restore(snapshot)
            own = [answered(task, seed, "carol") for task in TASKS.values() for seed in range(50, 53)]
            batches.append(draw_batch(own, pool, mix, np.random.default_rng(7), time.time()))
        assert batches[0].groups == batches[1].groups
        assert len(batches[0].external) == 4
        assert {group.origin for group in batches[0].external} <= {peers[name] for name in SENDERS}
