"""Checks of a loaded model: it reads prompts, stops, learns, and holds prompt and rollout in its context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policies.policy import PolicyError
from policies.text.engine.windows import exact_length
from policies.text.loading.library_errors import as_policy_error

# Names that configurations have for the most positions of a sequence.
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
# How far rounding alone moves a logit, beside 1 + its size.
ROUNDING = 5e-2


def check_fitness(
    model: PreTrainedModel,
    trained: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    *,
    proven: bool = False,
) -> None:
    """Raises PolicyError, with what to change, for a model that loads and does not fit.

    `trained`: the model with its adapter, where it has one. `prompt`: token ids of a short prompt. `proven`: it has
    been run before, so that only what costs no pass is looked at.
    """
    name = type(model).__name__
    if not any(parameter.requires_grad for parameter in trained.parameters()):
        raise PolicyError(
            f"{name} has nothing to train; set model.lora for an adapter, or model.path to a model's own weights"
        )
    check_vocabulary(tokenizer, prompt, embedding_rows(model))
    _check_positions(model)
    if not proven:
        _check_forward(model, prompt)


def embedding_rows(model: PreTrainedModel) -> int:
    """Token ids that the model can read."""
    with as_policy_error(f"{type(model).__name__} has no table of token embeddings", "choose another model"):
        return int(model.get_input_embeddings().weight.shape[0])


def context_length(model: PreTrainedModel) -> int | None:
    """Most tokens of prompt and completion together; None where the architecture sets no limit.

    Also the length past which the company of a rollout in a batch would change its positions: see `exact_length`.
    """
    if (exact := exact_length(model)) is not None:
        return exact
    config = model.config.get_text_config()
    attention = getattr(config, "attn_config", None)
    if getattr(config, "alibi", False) or getattr(attention, "alibi", False):
        return None
    sizes = (getattr(config, name, None) for name in CONTEXT_NAMES)
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def check_context(limit: int | None, prompt_tokens: int, cap: int, key: str = "max_new_tokens") -> None:
    """Raises PolicyError, with the number to set, where a prompt and a completion at the cap exceed `limit`."""
    if limit is None or prompt_tokens + cap <= limit:
        return
    room = limit - prompt_tokens
    fix = f"set generation.{key} to at most {room}" if room > 0 else "choose a model with a longer context"
    raise PolicyError(
        f"the model takes {limit} tokens, and a prompt of {prompt_tokens} with generation.{key} = {cap} makes "
        f"{prompt_tokens + cap}: {fix}, or make the prompts shorter"
    )


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, needed: Sequence[int], rows: int) -> None:
    """Raises PolicyError where the tokenizer gives ids that the model has no embedding of."""
    beyond = next((index for index in needed if index >= rows), None)
    if beyond is None and tokenizer.vocab_size <= rows:
        return
    fault = (
        f"{tokenizer.vocab_size} tokens"
        if beyond is None
        else f"the token {tokenizer.convert_ids_to_tokens(beyond)!r} with id {beyond}"
    )
    raise PolicyError(
        f"the tokenizer has {fault}, and the model {rows} token embeddings: take the tokenizer that belongs to it, or "
        "save the model after model.resize_token_embeddings(len(tokenizer))"
    )


def _check_positions(model: PreTrainedModel) -> None:
    """Rotary frequencies are computed from the configuration. Where they are no numbers, attention may hide it."""
    for name, frequencies in model.named_buffers():
        if "inv_freq" in name and not frequencies.isfinite().all():
            raise PolicyError(
                f"{type(model).__name__} has frequencies of positions that are not finite ({name}): look for a 0 or a "
                "negative number in its config.json, such as rope_theta"
            )


@torch.no_grad()
def _check_forward(model: PreTrainedModel, prompt: Sequence[int]) -> None:
    """Runs the model on two rows that differ in their last token, which nothing before it may see."""
    other = (prompt[-1] + 1) % embedding_rows(model)
    rows = torch.tensor([[*prompt, prompt[-1]], [*prompt, other]], device=model.device)
    name, was_training = type(model).__name__, model.training
    model.eval()
    try:
        with as_policy_error(f"{name} cannot be run", "choose another model or device"):
            output: Any = model(input_ids=rows, attention_mask=torch.ones_like(rows))
            logits = output.logits[:, :-1].float()
    finally:
        model.train(was_training)
    if logits.isnan().any() or logits.isposinf().any():  # minus infinity is how some models rule tokens out
        raise PolicyError(
            f"{name} gives logits that are not finite: its weights are damaged, or dtype is too narrow for them"
        )
    logits = logits.clamp(min=-1e4)
    if ((logits[0] - logits[1]).abs() / (1 + logits[0].abs())).max() > ROUNDING:
        raise PolicyError(
            f"{name} lets a token see those behind it, so it is no causal language model; choose one that is "
            "(of an encoder, only is_decoder = true in its config.json makes one)"
        )
