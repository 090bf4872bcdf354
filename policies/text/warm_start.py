"""The embedded policy's supervised warm start: able in every task, right as often as its recipe says.

Deterministic: one recipe gives the same weights, bit for bit, on one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from policies.randomness import seeded
from policies.repeatable import one_thread
from policies.seeds import derive_seed
from policies.tasks import EMBEDDED
from policies.tasks.task import TRAIN_SEEDS
from policies.text.settings import EmbeddedSettings
from policies.text.tokenizer import dialogue

Progress = Callable[[int, int], None]  # (steps done, steps in all)

IGNORED = -100  # cross_entropy's ignore_index
RAMP_STEPS = 10
# Width, layers, and heads of keys and values.
SHAPES: Mapping[str, tuple[int, int, int]] = MappingProxyType({"small": (96, 2, 1), "normal": (128, 3, 2)})
# Shown in the first half, so that every node can do every task; the second half sets how often it does.
_EVEN_SHARES = dict.fromkeys(EMBEDDED, 0.5)


def warm_start(
    settings: EmbeddedSettings, tokenizer: PreTrainedTokenizerBase, progress: Progress | None = None
) -> Qwen2ForCausalLM:
    """Builds the model and trains it on CPU with one thread: 220 steps of 64 take some 30 s of a CPU core."""
    random = Random(derive_seed(settings.seed, "warm start"))
    with one_thread(), seeded(derive_seed(settings.seed, "weights"), torch.device("cpu")):
        model = _fresh_model(settings.size, tokenizer)
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_schedule, steps=settings.steps))
        for step in range(settings.steps):
            shares = settings.skills if 2 * step >= settings.steps else _EVEN_SHARES
            inputs, labels = _batch(_draws(random, settings, shares), tokenizer)
            _loss(model, inputs, labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            scheduler.step()
            if progress is not None:
                progress(step + 1, settings.steps)
    model.eval()
    return model


def _fresh_model(size: str, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """Qwen2 with few parameters."""
    width, layers, heads = SHAPES[size]
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        # At 0.02, meant for models of a thousand dimensions, learning takes off later: after 100 steps of 80 on
        # five tasks the loss was 1.2 in place of 0.7.
        initializer_range=0.08,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def _draws(random: Random, settings: EmbeddedSettings, shares: Mapping[str, float]) -> list[tuple[str, str]]:
    """One step's prompts with the answers to learn: right ones in the task's share, else the wrong habit."""
    tasks = sorted(settings.skills)
    draws = []
    for index in range(settings.batch):
        task = tasks[index % len(tasks)]
        exercise = EMBEDDED[task].exercise(random.randrange(TRAIN_SEEDS))
        right = random.random() < shares[task]
        draws.append((exercise.prompt, exercise.answer if right else exercise.habit))
    return draws


def _batch(draws: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase) -> tuple[Tensor, Tensor]:
    """Token ids and labels, rows x longest row, right padded; only answers and their end carry labels."""
    encoded = tokenizer([dialogue(prompt, answer) for prompt, answer in draws])["input_ids"]
    longest = max(map(len, encoded))
    inputs = torch.full((len(draws), longest), tokenizer.pad_token_id)
    labels = torch.full((len(draws), longest), IGNORED)
    for row, (ids, (_, answer)) in enumerate(zip(encoded, draws, strict=True)):
        learned = len(answer) + 1
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, len(ids) - learned : len(ids)] = torch.tensor(ids[-learned:])
    return inputs, labels


def _loss(model: Qwen2ForCausalLM, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over answer tokens. Padding needs no mask: it stands behind all that counts."""
    targets = labels[:, 1:]
    counted = targets != IGNORED
    hidden: Tensor = model.model(input_ids=inputs).last_hidden_state[:, :-1]
    logits: Tensor = model.lm_head(hidden[counted])
    return cross_entropy(logits, targets[counted])


def _schedule(step: int, steps: int) -> float:
    """Share of the peak rate: a short ramp, level to the middle, then down to a twentieth."""
    return min(1.0, (step + 1) / RAMP_STEPS) * min(1.0, max(0.05, 2 * (1 - step / steps)))
