"""A run folder as a node leaves it, whose policy has learned for certain: groups with made-up advantages, no luck."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from sample_events import ROUND
from tiny_decoder import tiny_decoder
from transformers import LlamaConfig, LlamaForCausalLM

from node.config.schema import Config, parse_config
from node.runtime.build import build_policy
from node.storage.checkpoint import Checkpoints, NodeState
from node.storage.events import EvaluationEvent, ExternalEvent, Store
from node.storage.run_folder import RunFolder
from policies.policy import sample_groups
from policies.rollout import TrainGroup
from policies.tasks import TaskSpec, build_task
from policies.text.policy import TextPolicy
from policies.text.tokenizer import build_tokenizer

PEER = "12D3KooWAbcAbcAbcAbcAbcAbcAbcAbcAbcAbcAbcAbcAbcAbcAb"
EMBEDDED = {"type": "embedded", "warm_start": {"size": "small", "steps": 2, "skills": {"add": 0.3}}}


def tiny_llama(folder: Path, seed: int = 0) -> Path:
    """A random Llama of a few thousand weights with the embedded policy's tokenizer, as a model folder."""
    tokenizer = build_tokenizer()
    model = tiny_decoder(
        LlamaForCausalLM, LlamaConfig, tokenizer, seed, intermediate_size=48, initializer_range=0.2
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def text_policy(model: Path, **settings: Any) -> dict[str, Any]:
    """A policy section that trains a model folder; `settings` are those of the model."""
    return {"type": "text", "model": {"path": str(model), **settings}}


def config_of(policy: dict[str, Any], **keys: Any) -> Config:
    policy = {
        "generation": {"max_new_tokens": 6},
        "trainer": {"learning_rate": 1e-2},
        **policy,
    }
    tree = {
        "seed": 3,
        "rounds": 2,
        "device": "cpu",
        "threads": 1,
        "tasks": [{"name": "add"}],
        "policy": policy,
    }
    return parse_config(tree | keys)


def trained_run(
    path: Path, policy: dict[str, Any], rounds: int = 1, **keys: Any
) -> tuple[RunFolder, TextPolicy]:
    """A run of `rounds` rounds with a checkpoint after each, and its policy as it is at the end."""
    config = config_of(policy, **keys)
    folder = RunFolder(path)
    folder.create(config)
    store, checkpoints = Store(folder.events), Checkpoints(folder.checkpoints, config.checkpoint.keep)
    learner = build_policy(config, lambda *_: None)
    assert isinstance(learner, TextPolicy)
    store.append(EvaluationEvent(0, 0.25, {"add@3": 0.25}))
    for number in range(1, rounds + 1):
        learn(learner, number)
        store.append(ExternalEvent(number, PEER, "add@3", 7))
        store.append(replace(ROUND, round=number, trained_local=3, trained_external=1, policy_version=number))
        store.append(EvaluationEvent(number, 0.5, {"add@3": 0.5}))
        checkpoints.save(learner, NodeState(number, pool=[], guard={}, rollouts={}))
    store.close()
    return folder, learner


def learn(policy: TextPolicy, seed: int) -> None:
    """One update that moves every trained weight, whatever the policy wrote."""
    rng = random.Random(seed)
    problems = [build_task(TaskSpec("add")).problem(n) for n in range(2)]
    groups = sample_groups(policy, problems, 4, seed)
    assert (
        policy.update([TrainGroup(g, tuple(rng.gauss(0, 1) for _ in g.rollouts)) for g in groups]) is not None
    )
