"""A model's own randomness: switched off in updates, for every place that it is read from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_text import mixed_batch, tiny_model, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from policies.policy import PolicyError
from policies.text.batching import rows_of
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.model import attach_lora
from policies.text.noise import draws_in_training, needs_quiet, switch_off_noise
from policies.text.settings import LoraSettings, TrainerSettings
from policies.text.trainer import GroupTrainer

SIZES = {"vocab_size": 48, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
WIDE = {**COMMON, "intermediate_size": 64}
# Dropout in modules, by function, of attention, of activations; skipped layers; jittered routers.
NOISY: dict[str, dict[str, Any]] = {
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "resid_pdrop": 0.5,
        "attn_pdrop": 0.5,
        "embd_pdrop": 0.5,
    },
    "opt": {**COMMON, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.5, "layerdrop": 0.5},
    "xglm": {
        "d_model": 32,
        "num_layers": 2,
        "attention_heads": 4,
        "ffn_dim": 64,
        "dropout": 0.5,
        "layerdrop": 0.5,
    },
    "biogpt": {**WIDE, "hidden_dropout_prob": 0.5, "layerdrop": 0.5, "activation_dropout": 0.5},
    "llama": {**WIDE, "attention_dropout": 0.5},
    "phi": {**WIDE, "attention_dropout": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5},
    "mixtral": {
        **WIDE,
        "router_jitter_noise": 0.5,
        "num_local_experts": 4,
        "num_key_value_heads": 4,
        "router_aux_loss_coef": 0.0,
    },
    "falcon": {**COMMON, "hidden_dropout": 0.5, "attention_dropout": 0.5},
    "gpt_neox": {**WIDE, "hidden_dropout": 0.5, "attention_dropout": 0.5},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.5, "attention_dropout": 0.5},
    "stablelm": {**WIDE, "hidden_dropout": 0.5, "num_key_value_heads": 4},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "attn_pdrop": 0.5, "resid_pdrop": 0.5},
}
IDS = torch.arange(2, 42).reshape(2, 20)
ROWS = rows_of(mixed_batch(), Encoding(tiny_tokenizer(), PromptSettings(), 64).problem_prompt)


def noisy(family: str) -> PreTrainedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **SIZES, **NOISY[family])
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def trainer_of(model: torch.nn.Module, **settings: Any) -> GroupTrainer:
    return GroupTrainer(model, tiny_tokenizer(), TrainerSettings(**settings), 1.0, seed=0)


def gradient(trainer: GroupTrainer, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    trainer.model.zero_grad()
    trainer.accumulate(ROWS)
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", list(NOISY))
def test_two_training_passes_are_equal(family: str, checkpointing: bool) -> None:
    assert draws_in_training(noisy(family), IDS, quiet=False), "nothing is tested"
    trainer = trainer_of(noisy(family), gradient_checkpointing=checkpointing)
    trainer.model.train()
    first, second = (trainer.model(input_ids=IDS, use_cache=False).logits for _ in range(2))
    assert torch.equal(first, second)
    ours, theirs = gradient(trainer, 1), gradient(trainer, 2)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


class Stubborn(torch.nn.Module):
    """Draws in training whatever a configuration says."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **options: Any) -> Any:
        out = self.inner(*args, **options)
        return out + 0.1 * torch.randn_like(out) if self.training else out


def test_a_model_that_draws_whatever_its_rates_say_is_updated_in_inference_mode() -> None:
    """Its adapter's dropout, which the user asked for, still draws."""
    model = tiny_model()
    model.model.layers[0].mlp = Stubborn(model.model.layers[0].mlp)
    trainer = trainer_of(model)
    ours, theirs = gradient(trainer, 1), gradient(trainer, 2)
    assert ours and all(torch.equal(value, theirs[name]) for name, value in ours.items())

    adapted = attach_lora(model, LoraSettings(rank=4, dropout=0.5, target_modules=("q_proj",)), 0)
    trainer = trainer_of(adapted)
    ours, theirs = gradient(trainer, 1), gradient(trainer, 2)
    assert not all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_randomness_that_nothing_switches_off_is_refused() -> None:
    class Always(Stubborn):
        def forward(self, *args: Any, **options: Any) -> Any:
            out = self.inner(*args, **options)
            return out + 0.1 * torch.randn_like(out)

    model = tiny_model()
    model.model.layers[0].mlp = Always(model.model.layers[0].mlp)
    with pytest.raises(PolicyError, match="draws at random in training whatever its configuration says"):
        needs_quiet(model, IDS)


def test_an_adapters_own_dropout_stays_and_rates_are_gone_from_modules_and_configuration() -> None:
    model = noisy("gpt2")
    adapted = attach_lora(model, LoraSettings(rank=4, dropout=0.25), 0)
    switch_off_noise(adapted)
    rates = {module.p for module in adapted.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.0, 0.25}
    config = model.config
    assert (config.resid_pdrop, config.attn_pdrop, config.embd_pdrop) == (0.0, 0.0, 0.0)
    assert config.layer_norm_epsilon > 0.0


def test_looking_for_randomness_leaves_mode_and_generators_alone() -> None:
    model = noisy("opt").eval()
    model.lm_head.train()
    before = torch.get_rng_state()
    draws_in_training(model, IDS, quiet=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert [name for name, module in model.named_modules() if module.training] == ["lm_head"]
