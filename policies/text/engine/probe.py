"""A comparison of the engine with the model's own forward pass, made before any rollout is sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from policies.text.engine.attention import ATTENTION, SlotGrid
from policies.text.engine.cache import Table
from policies.text.engine.decoder import Decoder

# Differences that rounding explains, as a share of how far log-probs lie apart. SmolLM2 shows under 1e-5 in
# float32 and 0.1 in bfloat16, where a few activations are hundreds of times larger than the rest.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.3}
LAYER_KINDS = {"full_attention", "sliding_attention"}
# What a model's own code may raise on a cache or an attention function that it does not know.
FOREIGN = (
    AttributeError,
    AssertionError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class UnsupportedError(Exception):
    """The engine cannot run this model; the message says why."""


@contextmanager
def shared_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model attends through the engine's views, in inference mode."""
    own, training = model.config._attn_implementation, model.training
    model.set_attn_implementation(ATTENTION)
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(own)
        model.train(training)


@torch.no_grad()
def token_bytes(model: PreTrainedModel) -> int:
    """Bytes of one token's keys and values in all layers. Raises UnsupportedError."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        raise UnsupportedError("it is an encoder-decoder")
    if kinds := set(getattr(config, "layer_types", None) or ()) - LAYER_KINDS:
        raise UnsupportedError(f"it has layers of kind {', '.join(sorted(kinds))}")
    prompts, begun = ((3, 1, 4, 1, 5), (9, 2, 6)), (5, 3, 5)
    try:
        expected = torch.cat([_plain(model, (*prompt, *begun)) for prompt in prompts])
        with shared_attention(model):
            decoder = Decoder(model, Table(2, 5), Table(2, 4))
            found = _through_views(decoder, prompts, begun)
    except FOREIGN as error:
        raise UnsupportedError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    centred = expected - expected.mean(dim=-1, keepdim=True)
    difference = float((expected - found).norm() / centred.norm())
    if not difference <= TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16]):
        raise UnsupportedError(f"log-probs differ from the model's own by {difference:.2%}")
    return decoder.prompts.bytes // (2 * 5)


def _plain(model: PreTrainedModel, ids: tuple[int, ...]) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[:, -1]
    return torch.log_softmax(logits.float(), dim=-1)


def _through_views(
    decoder: Decoder, prompts: tuple[tuple[int, ...], ...], begun: tuple[int, ...]
) -> torch.Tensor:
    """A prompt each, a partial after it, one step more."""
    for place, prompt in enumerate(prompts):
        decoder.load_prompts([prompt], place)
    rows = list(range(len(prompts)))
    grid = SlotGrid.of(rows, [len(prompt) for prompt in prompts], decoder.device)
    decoder.load_begun([begun] * len(rows), 0, grid)
    tokens = torch.tensor([begun[-1]] * len(rows), device=decoder.device)
    logits = decoder.step(tokens, torch.full_like(tokens, len(begun) - 1), grid, len(begun))
    return torch.log_softmax(logits.float(), dim=-1)
