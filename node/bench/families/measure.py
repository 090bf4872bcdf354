"""One family on the text policy's paths: exact against plain passes and `generate`, and how fast beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from node.bench.families.models import make_model
from node.bench.kit.workloads import Workload, draw_requests
from policies.policy import PolicyError
from policies.text.batching import Row as TrainRow
from policies.text.engine import Continuation, Engine, Request, Sampling
from policies.text.settings import TrainerSettings
from policies.text.tokenizer import build_tokenizer
from policies.text.trainer import GroupTrainer

# A prompt that passes the models' windows, and rollouts that pass them again.
SAMPLED = Workload("two prompts of 16", 32, 16, prompt_tokens=128, new_tokens=32, plans=())
SHORT = Workload("prompts of 3", 6, 3, prompt_tokens=5, new_tokens=12, plans=())
SCALE = 4  # of the models, so that it is not calls alone that take time
LEARNING_RATE = 1e-3  # moves tiny weights far enough within an update that old ones would show
WARM_UP_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of one family. Differences are the largest of all tokens, in nats."""

    sampling: str  # see `Engine.path`
    training: str  # see `ScoringTrainer.path`
    sampling_refusal: str | None
    training_refusal: str | None
    sampled_off: (
        float  # between the sampler's log-probs and a plain forward pass, before an update and after one
    )
    trained_off: float  # between the training step's log-probs and the sampler's
    greedy_equal: bool  # to what `generate` writes by itself
    ratios: tuple[float, ...]  # CPU seconds of `generate` over ours, one a seed
    tokens_per_s: float  # ours, a CPU second; the median of the seeds


class FamilyRun:
    """A random model with its trainer and its sampler. Raises PolicyError where the policy refuses the model."""

    def __init__(self, kind: str) -> None:
        tokenizer: PreTrainedTokenizerBase = build_tokenizer()
        self._vocabulary = len(tokenizer)
        settings = TrainerSettings(learning_rate=LEARNING_RATE)
        try:
            self._model = make_model(kind, self._vocabulary, scale=SCALE)
            # TRL patches the forward pass of what it trains. New models are in training mode, with dropout.
            self._untouched = make_model(kind, self._vocabulary, scale=SCALE).eval()
            self._trainer = GroupTrainer(self._model, tokenizer, settings, 1.0, 0)
            self._engine = Engine(self._model, (), slots=SAMPLED.rollouts)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise PolicyError(f"it cannot be run: {' '.join(str(error).split())[:200]}") from error

    def measure(self, seeds: Sequence[int]) -> Measured:
        ratios, seconds = self._speed(seeds)
        greedy = self._greedy_equal()
        requests = [*self._requests(SAMPLED, 0), *self._requests(SHORT, 0)]
        first = self._engine.run(requests)
        off = largest_difference(self._model, requests, first)
        trained = self._update(requests, first)
        self._engine.refresh()
        off = max(off, largest_difference(self._model, requests, self._engine.run(requests)))
        tokens = SAMPLED.rollouts * (SAMPLED.new_tokens or 0)
        return Measured(
            sampling=self._engine.path,
            training=self._trainer.path,
            sampling_refusal=self._engine.refusal,
            training_refusal=self._trainer.refusal,
            sampled_off=off,
            trained_off=trained,
            greedy_equal=greedy,
            ratios=tuple(ratios),
            tokens_per_s=tokens / sorted(seconds)[len(seconds) // 2],
        )

    def _requests(self, case: Workload, seed: int) -> list[Request]:
        return draw_requests(case, seed, self._vocabulary)

    def _update(self, requests: Sequence[Request], sampled: Sequence[Continuation]) -> float:
        """Trains on rollouts as fresh as they are; the largest difference from their recorded log-probs."""
        rows = [
            TrainRow(
                request.prompt_ids,
                found.token_ids,
                1.0 if number % 2 else -1.0,
                found.logprobs,
                sampled=found.logprobs,
            )
            for number, (request, found) in enumerate(zip(requests, sampled, strict=True))
        ]
        agreement = self._trainer.step(rows).accumulated.agreement
        if agreement is None:
            raise RuntimeError("an update on fresh rollouts compared none of them")
        return agreement.largest

    def _greedy_equal(self) -> bool:
        """Whether the likeliest tokens are those of `generate` on each prompt alone."""
        requests = [self._requests(case, 0)[0] for case in (SAMPLED, SHORT)]
        found = self._engine.run(requests, Sampling(temperature=0.0))
        return all(
            [list(ours.token_ids)] == generate(self._untouched, [request], sample=False)
            for request, ours in zip(requests, found, strict=True)
        )

    def _speed(self, seeds: Sequence[int]) -> tuple[list[float], list[float]]:
        """`generate`'s CPU seconds over ours for the same rollouts, a pair a seed, and ours; who is first alternates.

        Of the process, whose models are on the CPU: other programs beside it then matter little.
        """
        sides: dict[str, Callable[[Sequence[Request]], object]] = {
            "ours": self._engine.run,
            "generate": partial(generate, self._untouched, sample=True),
        }
        for side in sides.values():
            side(self._requests(SHORT, WARM_UP_SEED))
        ratios, seconds = [], []
        for seed in seeds:
            requests, taken = self._requests(SAMPLED, seed), {}
            for name in sorted(sides, reverse=bool(seed % 2)):
                start = time.process_time()
                sides[name](requests)
                taken[name] = time.process_time() - start
            ratios.append(taken["generate"] / taken["ours"])
            seconds.append(taken["ours"])
        return ratios, seconds


@torch.no_grad()
def largest_difference(
    model: PreTrainedModel, requests: Sequence[Request], sampled: Sequence[Continuation]
) -> float:
    """Between recorded log-probs and those of a plain pass over each row alone, in nats."""
    model.eval()
    furthest = 0.0
    for request, found in zip(requests, sampled, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *found.token_ids]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(request.prompt_ids) - 1 : -1]
        chosen = torch.tensor(found.token_ids, device=model.device)[:, None]
        expected = torch.log_softmax(logits.float(), dim=-1).gather(1, chosen)[:, 0]
        difference = (expected - torch.tensor(found.logprobs, device=model.device)).abs().max()
        furthest = max(furthest, float(difference))
    return furthest


def generate(model: PreTrainedModel, requests: Sequence[Request], *, sample: bool) -> list[list[int]]:
    """What transformers' `generate` writes behind prompts of one length, all as long: no token ends a rollout."""
    ids = torch.tensor([request.prompt_ids for request in requests], device=model.device)
    plain = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {}
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=GenerationConfig(
            max_new_tokens=requests[0].max_new_tokens,
            do_sample=sample,
            eos_token_id=model.config.get_text_config().vocab_size,
            pad_token_id=0,
            disable_compile=True,
            **plain,
        ),
    )
    tokens: list[list[int]] = written[:, ids.shape[1] :].tolist()
    return tokens
