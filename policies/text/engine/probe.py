"""A comparison of whatever samples with plain forward passes of the trained model, made before any rollout.

The texts are longer than the model's windows, the prompts unequal, and fresh adapters are moved off zero by the
caller: what samples must be what trains, not only what it was at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from policies.error_words import brief
from policies.policy import PolicyError
from policies.text.engine.attention import ATTENTION, SlotGrid, UnsupportedError
from policies.text.engine.batch import Batch
from policies.text.engine.cache import Table
from policies.text.engine.decoder import Decoder
from policies.text.engine.falcon import falcon_attention
from policies.text.engine.hf_fallback import GenerateFallback, in_evaluation
from policies.text.engine.lean_step import LeanModel
from policies.text.engine.request import Request, Sampling
from policies.text.engine.windows import exact_length, sliding_window, widest_window

# Differences that rounding explains, as a share of how far log-probs lie apart. SmolLM2 shows under 1e-5 in
# float32 and 0.1 in bfloat16, where a few activations are hundreds of times larger than the rest.
TOLERANCE = {torch.float32: 3e-4, torch.bfloat16: 0.3}
LAYER_KINDS = {"full_attention", "sliding_attention"}
# What a model's own code may raise on a cache or an attention function that it does not know.
FOREIGN = (
    ArithmeticError,
    AttributeError,
    AssertionError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
SAMPLED = 4  # tokens that a probed rollout writes
Ids = tuple[int, ...]


class InexactError(UnsupportedError):
    """Log-probs that differ by more than rounding explains: of another computation, or of too coarse a type."""


@contextmanager
def shared_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model attends through the engine's views, in inference mode."""
    own, training = model.config._attn_implementation, model.training
    _attend_by(model, ATTENTION)
    model.eval()
    try:
        with falcon_attention(model):
            yield
    finally:
        _attend_by(model, own)
        model.train(training)


def _attend_by(model: PreTrainedModel, attention: str) -> None:
    if model._can_set_attn_implementation():
        model.set_attn_implementation(attention)
    else:  # what is asked of it there is a line in the log; masks are made by the name in the configuration
        model.config._attn_implementation = attention


@torch.no_grad()
def probe_trained(trained: PreTrainedModel) -> None:
    """Raises PolicyError where the model cannot be run as it is, which an adapter round the wrong layer makes so."""
    try:
        for ids in probe_texts(trained):
            _plain(trained, ids)
    except FOREIGN as error:
        raise PolicyError(
            f"{type(trained).__name__} cannot be run ({type(error).__name__}: {brief(error)}); with an adapter, name "
            "the layers that it can stand round in lora.target_modules"
        ) from error


@torch.no_grad()
def probe_copy(working: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Raises UnsupportedError where the working copy does not compute what the trained model does."""
    for ids in probe_texts(trained):
        _compare(_plain(working, ids), _plain(trained, ids), _tolerance(working, trained))


@torch.no_grad()
def probe_engine(
    model: PreTrainedModel, trained: PreTrainedModel, lean: LeanModel | None = None, *, fused: bool = False
) -> int:
    """Bytes of one token's keys and values in all layers. Raises UnsupportedError where the engine is not exact."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        raise UnsupportedError("it is an encoder-decoder")
    if kinds := set(getattr(config, "layer_types", None) or ()) - LAYER_KINDS:
        raise UnsupportedError(f"it has layers of kind {', '.join(sorted(kinds))}")
    texts = probe_texts(trained)
    prompts, begun = [ids[:-SAMPLED] for ids in texts], texts[0][-SAMPLED:]
    expected = torch.cat([_plain(trained, (*prompt, *begun))[-1:] for prompt in prompts])
    try:
        with shared_attention(model):
            decoder = Decoder(model, Table(2, len(prompts[0])), Table(2, len(begun)), lean, fused=fused)
            found = _through_views(decoder, prompts, begun)
    except FOREIGN as error:
        raise UnsupportedError(f"{type(error).__name__}: {brief(error)}") from error
    window = sliding_window(model)
    if window is not None and window not in {terms.window for terms in decoder.prompts.terms.values()}:
        raise UnsupportedError(f"its sliding window of {window} tokens does not reach its attention function")
    _compare(found, expected, _tolerance(model, trained))
    return decoder.prompts.bytes // (2 * len(prompts[0]))


@torch.no_grad()
def probe_fallback(fallback: GenerateFallback, model: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Samples from two unequal prompts by `generate`. Raises UnsupportedError where log-probs are not the model's."""
    texts = probe_texts(trained)
    requests = [Request(ids[:-SAMPLED], key, SAMPLED) for key, ids in enumerate(texts)]
    batch = Batch(requests, (), Sampling())
    try:
        fallback.run(batch, len(requests), lambda _: False)
    except FOREIGN as error:
        raise UnsupportedError(f"{type(error).__name__}: {brief(error)}") from error
    for sequence in batch.sequences:
        prompt = sequence.request.prompt_ids
        expected = _plain(trained, (*prompt, *sequence.ids))[len(prompt) - 1 : -1]
        chosen = torch.tensor(sequence.ids, device=expected.device)[:, None]
        found = torch.tensor(sequence.logprobs, device=expected.device)
        tolerance = _tolerance(model, trained)
        _compare(found, expected.gather(1, chosen)[:, 0], tolerance, spread=expected)


def probe_texts(model: PreTrainedModel) -> list[Ids]:
    """A text that passes every window and a short one, of tokens that have no meaning to the model."""
    config = model.config.get_text_config()
    context = exact_length(model) or getattr(config, "max_position_embeddings", None) or 2**31
    long = max(min(widest_window(model) + 2 * SAMPLED + 1, int(context)), SAMPLED + 2)
    values = (value for name, value in vars(config).items() if name.endswith("_token_id"))
    named = {token for value in values for token in (value if isinstance(value, list | tuple) else [value])}
    plain = [token for token in range(1, min(config.vocab_size, 2**10)) if token not in named]
    return [tuple(plain[7919 * i % len(plain)] for i in range(1, n + 1)) for n in (long, SAMPLED + 2)]


def _plain(model: PreTrainedModel, ids: Ids) -> torch.Tensor:
    """Log-probs after every token of one row without padding: (tokens, V). In the model's own arithmetic."""
    with in_evaluation(model), torch.autocast(model.device.type, enabled=False):
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def _tolerance(*models: PreTrainedModel) -> float:
    """That of the coarsest arithmetic among `models`."""
    device = models[0].device.type
    coarse = torch.is_autocast_enabled(device) or any(
        # accelerate keeps a forward that it puts under autocast by this name
        model.dtype != torch.float32 or hasattr(model, "_original_forward")
        for model in models
    )
    return TOLERANCE[torch.bfloat16 if coarse else torch.float32]


def _compare(
    found: torch.Tensor, expected: torch.Tensor, tolerance: float, spread: torch.Tensor | None = None
) -> None:
    """Raises InexactError where they differ by more than `tolerance`, as a share of the spread of log-probs."""
    whole = expected if spread is None else spread
    scale = (whole - whole.mean(dim=-1, keepdim=True)).square().mean().sqrt()
    difference = float((found - expected).square().mean().sqrt() / scale)
    if not difference <= tolerance:
        raise InexactError(
            f"log-probs differ from the model's own by {difference:.2%}, where rounding explains {tolerance:.2%}"
        )


def _through_views(decoder: Decoder, prompts: Sequence[Ids], begun: Ids) -> torch.Tensor:
    """A prompt each, a partial after it, one step more."""
    for place, prompt in enumerate(prompts):
        decoder.load_prompts([prompt], place)
    rows = list(range(len(prompts)))
    grid = SlotGrid.of(rows, [len(prompt) for prompt in prompts], decoder.device)
    decoder.load_begun([begun] * len(rows), 0, grid)
    tokens = torch.tensor([begun[-1]] * len(rows), device=decoder.device)
    logits = decoder.step(tokens, torch.full_like(tokens, len(begun) - 1), grid, len(begun))
    return torch.log_softmax(logits.float(), dim=-1)
