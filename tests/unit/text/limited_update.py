"""Equal policies' updates in a process that may take so many bytes more, for each of the numbers that it is given.

Prints one JSON list of lists: of each policy its updates, or what ended them. 0 is no limit.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from node.bench.families.models import make_model
from node.bench.kit.workloads import taught_at_random
from policies.policy import PolicyError
from policies.rollout import Finish, Problem, Rollout, Segment, TrainGroup
from policies.text.policy import TextPolicy
from policies.text.settings import TextSettings
from policies.text.tokenizer import build_tokenizer

VOCABULARY, LENGTH, LETTERS = 512, 96, range(5, 60)
PROBLEMS = [Problem("memory@1", seed, f"{seed} 9 9", "") for seed in range(2)]
SETTINGS = {
    "generation": {"max_new_tokens": LENGTH, "arithmetic": "float32"},
    "trainer": {"token_budget": 16_384},
}


def groups(rollouts: int, length: int) -> list[TrainGroup]:
    """Of random letters, equal in every process."""
    generator = torch.Generator().manual_seed(0)
    written = []
    for _ in range(rollouts):
        ids = tuple(torch.randint(LETTERS.start, LETTERS.stop, (length,), generator=generator).tolist())
        written.append(Rollout("letters", (Segment(0, ids, (-4.0,) * length),), Finish.LENGTH))
    return taught_at_random(PROBLEMS, written)


def limit(room: int) -> None:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + room if room else most, most))


def started() -> TextPolicy:
    settings = TextSettings.model_validate(SETTINGS).settled()
    policy = TextPolicy(make_model("llama", VOCABULARY, scale=4), build_tokenizer(), settings)
    policy.update(
        groups(4, 4)
    )  # the optimiser has its state, and libraries what they load on their first use
    return policy


def updates(policy: TextPolicy) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for _ in range(2):
        try:
            report = policy.update(groups(48, LENGTH))
        except PolicyError as error:
            return [*found, {"refused": str(error)}]
        assert report is not None
        sizes = {"micro_batches": report.micro_batches, "norm": report.grad_norm}
        found.append({"shortage": report.shortage, **sizes})
    return found


def main(rooms: list[int]) -> None:
    torch.set_num_threads(1)
    policies = [started() for _ in rooms]
    told = []
    for room, policy in zip(rooms, policies, strict=True):
        limit(room)
        told.append(updates(policy))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main([int(room) for room in sys.argv[1:]])
