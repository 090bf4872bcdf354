"""SmolLM2 and Gemma 3 270M, real weights: what each writes, the other reads whole at equal caps.

Where they come from: `real_models`. Figures: `--log-cli-level=INFO`.
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import cache

import pytest
import torch
from real_models import GEMMA_MISSING, SMOLLM2_MISSING, gemma, has_gemma, smollm2
from tiny_text import problem

from policies.policy import sample_groups
from policies.rollout import Finish, Group
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, ModelSettings, TextSettings

logger = logging.getLogger(__name__)

CAP = 48
QUESTIONS = [
    "What is 12 + 7? Answer with a number only.",
    "Write one line with ten different emoji.",
    "Напиши короткое предложение о погоде.",
    "東京について一文で書いてください。",
    "Draw a small square with the characters ■ □ ▲ and arrows → ←.",
    "Schreibe einen Satz über die Straße, die größer ist.",
    "Write Python code that prints the first five primes.",
    "Sort the letters d, b, a, c.",
]


@cache
def policy(path: str) -> TextPolicy:
    model = ModelSettings(path=path, lora=LoraSettings(rank=4))
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=CAP))
    return TextPolicy.from_settings(model, settings, torch.device("cpu"))


@cache
def written(path: str) -> list[Group]:
    return sample_groups(policy(path), [problem(question) for question in QUESTIONS], 8, seed=3)


def read(reader: TextPolicy, group: Group) -> Counter[str]:
    """How many of a group's rollouts with text are read, read uncut, and read as the very tokens sampled."""
    counts: Counter[str] = Counter()
    for rollout in (rollout for rollout in group.rollouts if rollout.text):
        counts["sent"] += 1
        try:
            text, finish = reader.fit(rollout.text, rollout.finish)
            ids = reader.encode(text, finish)
        except ValueError:
            continue
        assert len(ids) <= CAP
        counts["read"] += 1
        counts["uncut"] += (text, finish) == (rollout.text, rollout.finish)
        counts["exact"] += ids == rollout.token_ids
    return counts


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(smollm2() is None, reason=SMOLLM2_MISSING)
@pytest.mark.skipif(not has_gemma(), reason=GEMMA_MISSING)
def test_real_models_read_each_other_whole() -> None:
    paths = {"smollm2": str(smollm2()), "gemma": gemma()}
    for writer, reader in ((a, b) for a in paths for b in paths):
        groups = written(paths[writer])
        counts = [read(policy(paths[reader]), group) for group in groups]
        whole = sum(count["read"] == count["sent"] for count in counts)
        total = sum(counts, Counter())
        logger.info("%s -> %s: %d of %d groups whole; %s", writer, reader, whole, len(groups), dict(total))
        assert whole >= 0.99 * len(groups)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(smollm2() is None, reason=SMOLLM2_MISSING)
def test_a_real_rollout_cut_at_any_token_is_read_by_its_own_model() -> None:
    reader = policy(str(smollm2()))
    texts = ["■ □ ▲ → ← ■ □ ▲ → ←", "😀🎉🚀 👩‍👩‍👧 🏳️‍🌈", "数字の合計は十二です。"]
    for text in texts:
        ids = reader.encode(text, Finish.LENGTH)
        for cut in range(1, len(ids) + 1):
            part = reader._encoding.decode(ids[:cut], Finish.LENGTH)
            assert text.startswith(part)
            if part:
                assert len(reader.encode(part, Finish.LENGTH)) <= CAP
