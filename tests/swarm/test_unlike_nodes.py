"""Unlike nodes share: two sizes, two vocabularies, a slow node, one that joins late and one that leaves.

None may end below its silo baseline by more than chance, and together they must end above.
"""

from __future__ import annotations

import copy
import json
import math
import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from node.bench.kit.trained_node import RoundClock, judge
from node.config.reading import load_config
from node.config.roles import as_silo, manifest_of
from node.config.schema import Config
from node.demo.kinds import skilled
from node.runtime.build import build_node
from node.runtime.loop import Node, play_round
from node.storage.events import RoundEvent
from node.storage.run_folder import RunFolder
from policies.text.policy import TextPolicy
from policies.text.tokenizer import CONTROL_TOKENS, build_tokenizer
from policies.text.warm_start import warm_start
from swarm.transport.base import Transport
from swarm.transport.in_memory import MemoryHub
from swarm.transport.silo import SiloTransport
from swarm.wire.identity import Identity

pytestmark = [pytest.mark.swarm, pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = 36
ANSWERED = 3 * 20  # held-out problems: `judge` takes 20 of each task


@dataclass(frozen=True)
class Kind:
    """How one node differs from the others."""

    name: str
    small: bool = False
    other_vocabulary: bool = False
    every: int = 1  # plays one round in so many
    first: int = 1
    last: int = ROUNDS

    def plays(self, round_number: int) -> bool:
        return self.first <= round_number <= self.last and round_number % self.every == 0


KINDS = (
    Kind("plain"),
    Kind("small, with another vocabulary", small=True, other_vocabulary=True),
    Kind("slow", every=3),
    Kind("late", first=10),
    Kind("leaver", small=True, last=28),
)


def other_tokenizer() -> PreTrainedTokenizerBase:
    """The same characters under other ids."""
    tokenizer = build_tokenizer()
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    plain = [token for token in tree["model"]["vocab"] if token not in CONTROL_TOKENS]
    shuffled = dict(zip(plain, range(len(CONTROL_TOKENS) + len(plain) - 1, -1, -1), strict=False))
    tree["model"]["vocab"].update(shuffled)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(tree))
    assert tokenizer("a")["input_ids"] != build_tokenizer()("a")["input_ids"]
    return tokenizer


def newborn(kind: Kind, config: Config) -> Callable[[], TextPolicy]:
    """Makes equal policies of this kind, each with weights of its own."""
    tokenizer = other_tokenizer() if kind.other_vocabulary else build_tokenizer()
    recipe = config.policy.warm_start.model_copy(update={"size": "small" if kind.small else "normal"})
    model: PreTrainedModel = warm_start(recipe, tokenizer)
    return lambda: TextPolicy(copy.deepcopy(model), tokenizer, config.policy, seed=config.run_seed)


def build(
    config: Config, path: Path, hub: MemoryHub | None, clock: RoundClock, policy: TextPolicy
) -> tuple[Node, Transport]:
    folder = RunFolder(path)
    config = folder.create(config)
    peer = Identity.load_or_create(folder.identity(config)).peer_id
    transport: Transport = hub.join(peer) if hub else SiloTransport()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node.runtime.build.build_policy", lambda config, progress: policy)
        return build_node(config, folder, transport, lambda *told: None, clock), transport


def play(node: Node) -> RoundEvent:
    node.round += 1
    event = play_round(node)
    return event


def test_unlike_nodes_lose_nothing_by_sharing(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    clock = RoundClock()
    settings = [[*skilled(number), f"rounds={ROUNDS}", "threads=1"] for number in range(len(KINDS))]
    configs = [load_config("tiny", overrides) for overrides in settings]
    hub = MemoryHub(manifest_of(configs[0]).swarm_id, clock)
    newborns = [newborn(kind, config) for kind, config in zip(KINDS, configs, strict=True)]
    nodes, baselines, imported = [], [], [0] * len(KINDS)
    for place, (config, born) in enumerate(zip(configs, newborns, strict=True)):
        nodes.append(build(config, tmp_path / f"node-{place}", hub, clock, born()))
        baselines.append(build(as_silo(config), tmp_path / f"baseline-{place}", None, clock, born())[0])

    for number in range(1, ROUNDS + 1):
        for place, kind in enumerate(KINDS):
            node, transport = nodes[place]
            if kind.plays(number):
                imported[place] += play(node).trained_external
                play(baselines[place])
                node.gossip.step()
            elif number == kind.last + 1:
                transport.close()
        clock.advance()

    gains = []
    for place, kind in enumerate(KINDS):
        own, control = judge(nodes[place][0]).pass_1, judge(baselines[place]).pass_1
        chance = math.sqrt((own * (1 - own) + control * (1 - control)) / ANSWERED)
        gains.append(own - control)
        print(f"{kind.name}: {own:.3f}, baseline {control:.3f}, imported {imported[place]}")  # noqa: T201
        assert own - control > -2 * chance, kind
        assert imported[place] > 0, kind
    assert statistics.fmean(gains) > 0
    assert len({node.policy.fingerprint for node, _ in nodes}) == 3
    heard = {event.peer for node, _ in nodes for event in _peers(node)}
    assert heard == {node.verifier.peer for node, _ in nodes}
    for node, _ in nodes:
        with closing(node.store):
            assert node.diverged == 0


def _peers(node: Node) -> list[Any]:
    from node.storage.events import History

    path = node.checkpoints._folder.parent / "events.sqlite"
    return History(path).peers()
