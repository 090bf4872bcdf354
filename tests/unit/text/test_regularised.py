"""What a loss may have beside the policy gradient: KL to the start, entropy; and rollouts that were cut."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from grpo_oracle import (
    ROUNDING,
    completion_logprobs,
    gradients,
    hand_written_loss,
    largest_relative_difference,
    token_logprobs,
)
from tiny_text import mixed_batch, tiny_model, tiny_tokenizer

from policies.install_hints import install_extras
from policies.policy import PolicyError
from policies.rollout import Finish
from policies.text.batching import rows_of
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.model import attach_lora
from policies.text.settings import LoraSettings, TrainerSettings
from policies.text.trainer import GroupTrainer

ENCODING = Encoding(tiny_tokenizer(), PromptSettings(), 64)
ROWS = rows_of(mixed_batch(), ENCODING.problem_prompt)


def trainer_of(model: torch.nn.Module, **given: object) -> GroupTrainer:
    return GroupTrainer(model, tiny_tokenizer(), TrainerSettings.model_validate(given), 1.0, 0)


def test_the_entropy_bonus_has_the_gradient_that_its_docstring_names() -> None:
    reference, model = tiny_model(), tiny_model()
    live = [row for row in ROWS if row.learns]
    tokens = sum(row.trained_tokens for row in ROWS)
    loss = hand_written_loss(reference, live, TrainerSettings(), normaliser=tokens)
    for row in live:
        whole = completion_logprobs(reference, row)
        entropy = -(whole.exp() * whole).sum(-1)
        logprobs = token_logprobs(reference, row)
        loss = loss - 0.1 * ((-logprobs - entropy).detach() * logprobs).sum() / tokens
    loss.backward()
    trainer_of(model, entropy_bonus=0.1).accumulate(ROWS)
    assert largest_relative_difference(gradients(model), gradients(reference)) < 3 * ROUNDING


def test_the_estimate_has_the_entropys_own_gradient_in_the_mean() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    p = torch.softmax(logits, -1)
    entropy = -(p * p.log()).sum()
    (exact,) = torch.autograd.grad(entropy, logits)
    p = torch.softmax(logits, -1)
    surprise = (-p.log() - entropy).detach()
    (estimated,) = torch.autograd.grad((p.detach() * surprise * p.log()).sum(), logits)
    assert torch.allclose(exact, estimated)


def test_the_kl_term_pulls_an_adapter_back_to_the_model_under_it() -> None:
    def moved() -> torch.nn.Module:
        model = attach_lora(tiny_model(), LoraSettings(rank=2), 0)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        return model

    model, reference, start = moved(), moved(), tiny_model()
    live = [replace(row, logprobs=None) for row in ROWS if row.learns]
    tokens = sum(row.trained_tokens for row in live)
    loss = hand_written_loss(reference, live, TrainerSettings(), normaliser=tokens)
    divergence = 0.0
    for row in live:
        logprobs = token_logprobs(reference, row)
        apart = token_logprobs(start, row).detach() - logprobs
        ratio = (
            logprobs - logprobs.detach()
        ).exp()  # TRL's correction: the estimate's gradient is the divergence's
        loss = loss + 0.5 * (ratio * (apart.exp() - apart - 1)).sum() / tokens
        divergence += float((apart.exp() - apart - 1).sum().detach()) / tokens
    loss.backward()
    trainer = trainer_of(model, beta=0.5)
    found = trainer.accumulate(trainer._with_reference(live))
    assert largest_relative_difference(gradients(model), gradients(reference)) < 10 * ROUNDING
    assert found.kl == pytest.approx(divergence, rel=1e-4) and divergence > 0.001


def test_beta_without_an_adapter_is_refused_with_what_to_set() -> None:
    with pytest.raises(PolicyError, match=r"model\.lora"):
        trainer_of(tiny_model(), beta=0.1)


def test_rollouts_that_were_cut_are_context_only() -> None:
    rows = rows_of(mixed_batch(), ENCODING.problem_prompt, mask_truncated=True)
    cut = [
        rollout.finish is Finish.LENGTH
        for member in mixed_batch()
        for rollout in member.group.rollouts
        if rollout.token_ids
    ]
    assert [row.trained_tokens == 0 for row in rows] == cut


def test_eight_bit_optimisers_name_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.text.loading.quantised.find_spec", lambda _: None)
    with pytest.raises(PolicyError, match=re.escape(install_extras("bitsandbytes"))):
        trainer_of(tiny_model(), optimizer="adamw_8bit")


@pytest.mark.parametrize("optimizer", ["adamw_fused", "adafactor"])
def test_other_optimisers_train(optimizer: str) -> None:
    model = tiny_model()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = trainer_of(model, optimizer=optimizer)
    trainer.step(ROWS)
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
    trainer.resume(trainer.progress())
