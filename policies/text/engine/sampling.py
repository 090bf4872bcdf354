"""Choosing tokens from logits, so that a draw depends on its rollout and position and on nothing else.

A token is drawn by an exponential race: of independent exponential variables E, the token with the largest
p / E wins with probability p. The race is run twice over, first between runs of neighbouring tokens and
then inside the winning run, so that one draw needs about 2 sqrt(vocabulary) variables in place of the whole
vocabulary's: torch.multinomial takes 26 ms for 16 x 49,152 on the two cores this was written on, this 2 ms.

Logits of the same rollout differ in their last bits from batch to batch, since matrix products round
differently. Where a search in the cumulative distribution carries such a difference through all later
tokens, the race changes its winner with a probability of the order of the difference itself.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from policies.text.engine.request import Sampling

# splitmix64 (Steele, Lea and Flood, 2014), its constants as signed 64-bit integers.
_GOLDEN = -7046029254386353131
_MULTIPLIERS = (-4658895280553007687, -7723592293110705685)
_SHIFTS = (30, 27, 31)
_RUN_LENGTHS = (256, 128, 64)
# Probabilities at a time: in a CPU's cache, and in memory that is used again, 128 x 49,152 take a third of the time.
CACHED_NUMBERS = 2**20


def choose(
    logits: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of every row and its log-prob. Shapes: logits (n, V); keys, positions and results (n,).

    `positions` count from the completion's start. The log-prob is that of the tempered distribution before
    top-k and top-p, as the trainer recomputes it; at temperature 0 that of the untempered one.
    """
    rows = max(1, CACHED_NUMBERS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    parts = [slice(start, start + rows) for start in range(0, len(logits), rows)]
    chosen = [_choose(logits[part], keys[part], positions[part], sampling) for part in parts]
    return torch.cat([tokens for tokens, _ in chosen]), torch.cat([logprobs for _, logprobs in chosen])


def _choose(
    logits: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = logits if sampling.temperature in (0.0, 1.0) else logits.float() / sampling.temperature
    probabilities = torch.softmax(scores, dim=-1, dtype=torch.float32)
    if sampling.temperature == 0.0:
        tokens = scores.argmax(dim=-1)
    else:
        tokens = race(_truncated(probabilities, sampling), keys, positions)
    return tokens, probabilities.gather(1, tokens[:, None]).squeeze(1).log()


def race(weights: torch.Tensor, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One index a row, drawn in proportion to `weights` (n, V), which need not sum to 1."""
    rows, size = weights.shape
    length = next((length for length in _RUN_LENGTHS if size % length == 0), _RUN_LENGTHS[0])
    if size % length:
        weights = pad(weights, (0, -size % length))
    runs = weights.view(rows, -1, length)
    totals = runs.sum(dim=-1)
    noise = exponentials(keys, positions, totals.shape[1] + length)
    run = (totals / noise[:, : totals.shape[1]]).argmax(dim=-1)
    inside = runs[torch.arange(rows, device=run.device), run]
    return run * length + (inside / noise[:, totals.shape[1] :]).argmax(dim=-1)


def exponentials(keys: torch.Tensor, positions: torch.Tensor, count: int) -> torch.Tensor:
    """`count` unit exponential variables a row, (n, count) float32: a function of key and position alone."""
    device = keys.device
    if device.type == "mps":  # has no float64
        return exponentials(keys.cpu(), positions.cpu(), count).to(device)
    state = _mix(keys ^ _mix(positions + _GOLDEN))
    lanes = torch.arange(1, count + 1, device=device) * _GOLDEN
    bits = _mix(state[:, None] + lanes)
    return (by_double if device.type == "cpu" else by_single)(_shifted(bits, 12))


def by_double(bits: torch.Tensor) -> torch.Tensor:
    """Exponential variables of 52 bits each, through float64."""
    # Half a bit more: never 0 and never 1, so that the logarithm is finite and not zero.
    uniform = (bits.double() + 0.5) * 2.0**-52
    return uniform.log_().neg_().float()


def by_single(bits: torch.Tensor) -> torch.Tensor:
    """The same up to the last bit of float32, without float64, of which a GPU may have a 64th of the units.

    A uniform variable u near 1 is taken by 1 - u, so that no bit of it is lost on either side.
    """
    odd = 2 * bits + 1  # u * 2^53
    low = odd < 2**52
    nearer = torch.where(low, odd, 2**53 - odd).float() * 2.0**-53
    return torch.where(low, nearer.log(), torch.log1p(-nearer)).neg_()


def _mix(values: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser; torch's int64 wraps around as it needs."""
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, 1), strict=True):
        values = (values ^ _shifted(values, shift)) * multiplier
    return values


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift to the right that fills with zeros; torch's own repeats the sign bit."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _truncated(probabilities: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Zero outside the k likeliest and outside the fewest tokens that together reach top_p."""
    size = probabilities.shape[-1]
    if sampling.top_k is None and sampling.top_p is None:
        return probabilities
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        ordered[:, min(sampling.top_k, size) :] = 0.0
    if sampling.top_p is not None:
        reached_before = ordered.cumsum(dim=-1) - ordered
        # The likeliest token stays, whatever rounding did to its own sum.
        ordered[:, 1:].masked_fill_(
            reached_before[:, 1:] >= sampling.top_p * ordered.sum(-1, keepdim=True), 0.0
        )
    return torch.zeros_like(probabilities).scatter_(1, order, ordered)
