"""Prompts computed once: against the hand-written GRPO, by what is computed, and where it must not be done."""

from __future__ import annotations

import logging
import random
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from grpo_oracle import ROUNDING, gradients, hand_written_loss, largest_relative_difference
from tiny_text import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.llama import LlamaConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from node.bench.families.models import make_model
from policies.text import scoring as module
from policies.text.batching import Row, cost, pack
from policies.text.model import attach_lora
from policies.text.settings import LoraSettings, TrainerSettings
from policies.text.shared_prefix import CompletionScorer, UnfitError
from policies.text.trainer import GroupTrainer

PLAIN = TrainerSettings(max_grad_norm=1e9)


def group(seed: int, prompt: int, rollouts: int, known: float = 0.5, longest: int = 9) -> list[Row]:
    """Rollouts of one prompt; some with behaviour log-probs, some with tokens that do not train."""
    rng = random.Random(seed)
    prompt_ids = tuple(rng.randrange(5, 48) for _ in range(prompt))
    rows = []
    for _ in range(rollouts):
        tokens = tuple(rng.randrange(5, 48) for _ in range(rng.randint(1, longest)))
        logprobs = tuple(rng.gauss(-3.5, 1.0) for _ in tokens) if rng.random() < known else None
        untrained = tuple(rng.random() < 0.3 for _ in tokens) if rng.random() < 0.3 else None
        rows.append(Row(prompt_ids, tokens, rng.gauss(0.0, 1.0), logprobs, None, untrained))
    return rows


# Unequal groups, a row alone, a prompt of one token, a prompt longer than the smaller budgets, single tokens.
ROWS = [*group(0, 11, 7), *group(1, 5, 1), *group(2, 1, 6), *group(3, 40, 5, 0.0), *group(4, 6, 4, 1.0, 1)]


def trainer_of(
    model: torch.nn.Module, settings: TrainerSettings = PLAIN, temperature: float = 1.0
) -> GroupTrainer:
    return GroupTrainer(model, tiny_tokenizer(), settings, temperature, seed=0)


def small_model(config: type[PreTrainedConfig], **changes: object) -> PreTrainedModel:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 48}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config(**sizes, **heads, initializer_range=0.3, pad_token_id=0, **changes)
        )
    return model


def embedded_tokens(model: torch.nn.Module) -> list[int]:
    """Filled with the number of tokens, padding included, of every pass that is to come."""
    seen: list[int] = []
    embedding = next(part for part in model.modules() if isinstance(part, torch.nn.Embedding))
    embedding.register_forward_pre_hook(lambda _, ids: seen.append(ids[0].numel()))
    return seen


@pytest.fixture(params=[0, 20, 1e9], ids=["always", "often", "never"])  # tokens
def least_saving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    saving = float(request.param)
    monkeypatch.setattr(module.ScoringTrainer, "least_saving", saving)
    return saving


@pytest.mark.parametrize("token_budget", [1, 60, 4096])
@pytest.mark.parametrize(("loss", "high", "temperature"), [("dapo", 0.28, 1.0), ("cispo", 2.0, 0.7)])
def test_loss_and_gradient_equal_a_hand_written_grpo(
    least_saving: float, token_budget: int, loss: str, high: float, temperature: float
) -> None:
    changes = {"loss": loss, "epsilon_high": high, "token_budget": token_budget}
    settings = PLAIN.model_copy(update=changes)
    reference, model = tiny_model(), tiny_model()
    expected = hand_written_loss(reference, ROWS, settings, temperature)
    expected.backward()
    accumulated = trainer_of(model, settings, temperature).accumulate(ROWS)
    assert accumulated.loss == pytest.approx(expected.item(), rel=ROUNDING)
    assert largest_relative_difference(gradients(model), gradients(reference)) < ROUNDING


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj",), ("down_proj",)])
def test_an_adapter_s_gradient_is_exact(
    targets: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With q_proj alone, the first layer's keys and values need no gradient."""
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    lora = LoraSettings(rank=4, target_modules=targets)
    reference, model = attach_lora(tiny_model(), lora, 0), attach_lora(tiny_model(), lora, 0)
    for adapted in (reference, model):
        generator = torch.Generator().manual_seed(1)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at first, when half of the gradient is zero too
                parameter.data.normal_(std=0.02, generator=generator)
    hand_written_loss(reference, ROWS, PLAIN).backward()
    trainer_of(model, PLAIN.model_copy(update={"token_budget": 60})).accumulate(ROWS)
    assert largest_relative_difference(gradients(model), gradients(reference)) < ROUNDING


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"attn_implementation": "eager"}])
def test_other_attention_is_exact(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    reference, model = (small_model(LlamaConfig, **changes) for _ in range(2))
    hand_written_loss(reference, ROWS, PLAIN).backward()
    trainer_of(model, PLAIN.model_copy(update={"token_budget": 60})).accumulate(ROWS)
    assert largest_relative_difference(gradients(model), gradients(reference)) < ROUNDING


def test_a_shared_prompt_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    rows = [Row((7,) * 40, (8,) * 6, 1.0, None) for _ in range(10)]
    model = tiny_model()
    trainer = trainer_of(model, PLAIN.model_copy(update={"token_budget": 40 + 4 * (6 + 5)}))
    seen = embedded_tokens(model)
    assert trainer.accumulate(rows).micro_batches == 3
    assert seen == [40, 4 * 5, 4 * 5, 2 * 5], "the last token of a completion predicts nothing"


def test_prompts_are_shared_where_that_spares_enough() -> None:
    rows = [*group(0, 10, 4), *group(1, 10, 3), *group(2, 40, 1)]
    shared = [batch.shared_prompt for batch in pack(rows, 10**6, least_saving=30) if batch.shared_prompt]
    assert set(shared) == {rows[0].prompt_ids}
    assert not any(batch.shared_prompt for batch in pack(rows, 10**6))


@pytest.mark.parametrize("budget", [1, 25, 60, 200])
def test_micro_batches_stay_in_the_budget_and_follow_their_prompt(budget: int) -> None:
    batches = pack(ROWS, budget, least_saving=0)
    assert sorted(id(row) for batch in batches for row in batch.rows) == sorted(map(id, ROWS))
    prompts = [batch.shared_prompt for batch in batches]
    changes = sum(before != after for before, after in pairwise(prompts))
    assert changes == len(set(prompts)) - 1
    for batch in batches:
        assert {row.prompt_ids for row in batch.rows} == {batch.shared_prompt}
        width = max(len(row.token_ids) for row in batch.rows)
        tokens = len(batch.rows[0].prompt_ids) * (1 + len(batch.rows) / 8) + len(batch.rows) * width
        assert tokens == cost(batch.rows, batch.shared_prompt)
        assert len(batch.rows) == 1 or tokens <= budget


def test_dropout_draws_anew_for_every_update_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    settings = TrainerSettings(learning_rate=1e-2)
    norms = []
    for dropout in (0.0, 0.5):
        model = attach_lora(tiny_model(), LoraSettings(rank=4, dropout=dropout), 0)
        trainer = trainer_of(model, settings)
        norms.append([trainer.step(ROWS).grad_norm for _ in range(2)])
    assert norms[0][0] != norms[1][0]
    assert all(norm > 0 for pair in norms for norm in pair)


KINDS = ["mistral", "phi3", "gemma2", "gemma3_text", "gemma4_text", "olmo3", "exaone4", "cohere2", "granite"]
KINDS += ["qwen3_moe", "mixtral", "gpt_oss"]  # their terms for the balance of experts are switched off


@pytest.mark.parametrize("kind", KINDS)
def test_windows_caps_and_experts_share_prompts_exactly(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts and completions of `ROWS` pass the windows, which are of six tokens."""
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    reference, model = (make_model(kind, 48) for _ in range(2))
    for each in (reference, model):
        if hasattr(each.config, "router_aux_loss_coef"):
            each.config.router_aux_loss_coef = 0.0
    with caplog.at_level(logging.WARNING, module.__name__):
        trainer = trainer_of(model, PLAIN.model_copy(update={"token_budget": 60}))
    assert trainer.path == "shared prompt" and "slower step" not in caplog.text
    seen = embedded_tokens(model)
    trainer.accumulate(ROWS)
    assert 40 in seen, "the longest prompt was not computed by itself"
    hand_written_loss(reference, ROWS, PLAIN).backward()
    # Gemma 4 scales up embeddings in every layer: float32 rounds their gradients by 6.3e-5 on some processors.
    rounding = 10 * ROUNDING if kind == "gemma4_text" else ROUNDING
    assert largest_relative_difference(gradients(model), gradients(reference)) < rounding


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "gpt_oss"])
def test_the_balance_of_experts_is_that_of_trl(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 1e9)
    settings, known = PLAIN.model_copy(update={"token_budget": 10**6}), [r for r in ROWS if r.logprobs]
    losses, found = [], []
    for shares in (True, False):
        model = make_model(kind, 48)
        model.config.router_aux_loss_coef = 0.5
        trainer = trainer_of(model, settings)
        assert trainer.path == "shared prompt" and trainer.aux_loss_enabled
        if not shares:
            trainer._scorer = None
        losses.append(trainer.accumulate(known).loss)
        found.append(gradients(model))
    assert losses[0] == pytest.approx(losses[1], rel=ROUNDING)
    assert largest_relative_difference(*found) < ROUNDING


def test_behind_a_shared_prompt_the_balance_is_of_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    rows = [Row((7, 9, 11, 8) * 3, tuple(range(5 + i, 13 + i)), 1.0, None) for i in range(4)]
    losses = []
    for weight in (0.5, 1e-9):
        model = make_model("qwen3_moe", 48)
        model.config.router_aux_loss_coef = weight
        trainer = trainer_of(model)
        losses.append(trainer.accumulate(rows).loss)
    ids = torch.tensor([[*row.prompt_ids, *row.token_ids] for row in rows])
    mask = torch.ones_like(ids)
    mask[:, :12] = mask[:, -1] = 0
    with torch.no_grad():
        balance = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_router_logits=True)
        term = load_balancing_loss_func(balance.router_logits, 4, 2, mask)
    assert losses[0] - losses[1] == pytest.approx(0.5 * float(term), rel=1e-4)


def test_states_train_by_trl_s_step(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 0)
    reference, model = make_model("lfm2", 48), make_model("lfm2", 48)
    with caplog.at_level(logging.WARNING, module.__name__):
        trainer = trainer_of(model, PLAIN.model_copy(update={"token_budget": 60}))
    assert "trains by TRL's slower step: some of its layers keep states" in caplog.text
    assert trainer.path == "TRL" and trainer.refusal is not None
    trainer.accumulate(ROWS)
    hand_written_loss(reference, ROWS, PLAIN).backward()
    assert largest_relative_difference(gradients(model), gradients(reference)) < ROUNDING


def test_gradient_checkpointing_trains_by_trl_s_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, module.__name__):
        trainer_of(tiny_model(), PLAIN.model_copy(update={"gradient_checkpointing": True}))
    assert "gradient checkpointing" in caplog.text


def test_scores_that_differ_from_the_reference_are_not_taken() -> None:
    model = tiny_model()
    fit = trainer_of(model)

    def precision() -> torch.autocast:
        return torch.autocast("cpu", enabled=False)

    score = partial(fit._get_per_token_logps_and_entropies, model)

    def reference(*args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        logprobs, entropy, _ = score(*args, **options)
        return logprobs + 0.05, entropy, None

    CompletionScorer(model, 1.0, precision).compare(score)

    with pytest.raises(UnfitError, match=r"apart from TRL's"):
        CompletionScorer(model, 1.0, precision).compare(reference)
    with pytest.raises(UnfitError, match=r"apart from TRL's"):  # the reference's temperature is 1
        CompletionScorer(model, 0.9, precision).compare(score)


def test_bf16_agrees_with_the_unshared_step_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for saving in (0, 1e9):
        monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", saving)
        model = tiny_model()
        trainer = trainer_of(model, PLAIN.model_copy(update={"bf16": True, "token_budget": 60}))
        trainer.accumulate(ROWS)
        found.append(gradients(model))
    assert largest_relative_difference(found[0], found[1]) < 0.1


@pytest.mark.parametrize(
    ("size", "layers", "low", "high"),
    [(604_544, 3, 130, 170), (134_515_008, 30, 5, 10)],
    ids=["embedded", "SmolLM2"],
)
def test_the_least_saving_follows_the_weights_of_a_layer(
    size: int, layers: int, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_model(), PLAIN)
    monkeypatch.setattr(trainer._plain.config, "num_hidden_layers", layers)
    monkeypatch.setattr(module, "parameters_of", lambda model: size)
    assert low < trainer.least_saving < high


def test_a_group_of_the_preset_shares_its_prompt_in_a_model_of_smollm2s_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight rollouts of a prompt of 36 tokens spare 252."""
    trainer = trainer_of(tiny_model(), PLAIN)
    monkeypatch.setattr(trainer._plain.config, "num_hidden_layers", 30)
    monkeypatch.setattr(module, "parameters_of", lambda model: 134_515_008)
    rows = group(0, prompt=36, rollouts=8)
    assert {batch.shared_prompt for batch in trainer._packed(rows)} == {rows[0].prompt_ids}
    monkeypatch.setattr(module, "LEAST_SAVING_ON_CPU", 1e12)
    assert {batch.shared_prompt for batch in trainer._packed(rows)} == {None}
