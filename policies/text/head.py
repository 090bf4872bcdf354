"""Log-probs and entropies of given tokens from hidden states: one matrix product forward, two backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from trl.kernels import ChunkedLogProbFunction

# The (tokens, vocabulary) buffer is kept for the backward pass up to this size, and computed again beyond it.
# For 2,048 tokens of SmolLM2 in fp32 it is 0.4 GB beside 6 GB of activations, and saves a quarter of the products.
KEPT_BYTES = 2**30
# Numbers in the buffer that is filled again and again where nothing is kept: 64 MB, wide enough for fast products.
REUSED_NUMBERS = 2**24
# Numbers that become probabilities at a time: in a CPU's cache that takes 0.6 of the time.
CACHED_NUMBERS = 2**22
# The vocabulary tile with which TRL itself calls its kernel.
TRL_TILE = 32768


class LogitChange(NamedTuple):
    """What a model does to its logits: cap * tanh(scale * logits / cap), or the scale alone."""

    scale: float = 1.0
    cap: float | None = None


UNCHANGED = LogitChange()


def score_tokens(
    hidden: torch.Tensor,
    head: torch.nn.Linear,
    targets: torch.Tensor,
    temperature: float,
    change: LogitChange = UNCHANGED,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs (N,) of `targets` (N,) and entropies (N,) in nats, from hidden states (N, H); both fp32.

    Of the softmax of logits / temperature, after `change`. The products run in autocast's type where it is on, else
    in that of `hidden`. The entropy carries no gradient: no loss of ours asks for one. On CUDA it is TRL's Triton
    kernel that works, which never writes the logits to memory.
    """
    weight: torch.Tensor = head.weight
    bias: torch.Tensor | None = head.bias
    if not torch.is_grad_enabled():  # a Function is told what could have a gradient, not if one is wanted
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    device = hidden.device.type
    if device == "cuda":
        outputs = ("log_probs", "entropy")
        scores = ChunkedLogProbFunction.apply(
            hidden, weight, bias, targets, temperature, TRL_TILE, change.cap, change.scale, outputs
        )
        return scores[0], scores[1].detach()
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        logprobs, entropy = _TokenScores.apply(hidden, weight, bias, targets, temperature, change)  # type: ignore[no-untyped-call]
    return logprobs, entropy


class _Softmax(NamedTuple):
    """The distributions over V tokens that N hidden states stand for, and a target of each."""

    hidden: torch.Tensor  # (N, H)
    matrix: torch.Tensor  # (V, H), of the type of hidden
    bias: torch.Tensor | None  # (V,)
    targets: torch.Tensor  # (N,)
    temperature: float
    change: LogitChange

    def parts(self, numbers: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yields (tokens, buffer for their residuals): as many as `numbers` allow, always in the same memory."""
        rows = min(len(self.targets), max(1, numbers // len(self.matrix)))
        buffer = self.hidden.new_empty(rows, len(self.matrix))
        for start in range(0, len(self.targets), rows):
            part = slice(start, min(start + rows, len(self.targets)))
            yield part, buffer[: part.stop - part.start]

    def residuals(self, part: slice, buffer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fills `buffer` (n, V) with p - onehot(target); gives log-probs and entropies, each (n,).

        d logprob / d logits = -residual / temperature, so that the backward pass is products alone. Where logits are
        changed, residuals are multiplied by the slope of the change.
        """
        torch.mm(self.hidden[part], self.matrix.t(), out=buffer)
        if self.bias is not None:
            buffer += self.bias
        rows = max(1, CACHED_NUMBERS // len(self.matrix))
        pieces = zip(torch.split(buffer, rows), torch.split(self.targets[part], rows), strict=True)
        scores = [_residuals_in_place(*piece, self.temperature, self.change) for piece in pieces]
        return torch.cat([logprobs for logprobs, _ in scores]), torch.cat([entropy for _, entropy in scores])


def residuals(
    hidden: torch.Tensor,
    head: torch.nn.Linear,
    targets: torch.Tensor,
    temperature: float,
    change: LogitChange,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yields tokens and their p - onehot(target) (n, V), which the next ones overwrite; without gradients.

    Minus `temperature` times the gradient of the log-prob to the logits.
    """
    softmax = _Softmax(hidden, head.weight.to(hidden.dtype), head.bias, targets, temperature, change)
    for part, buffer in softmax.parts(REUSED_NUMBERS):
        softmax.residuals(part, buffer)
        yield part, buffer


def _residuals_in_place(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float, change: LogitChange
) -> tuple[torch.Tensor, torch.Tensor]:
    slope = _changed_in_place(logits, change)
    tempered = logits.float() if temperature == 1.0 else logits.float() / temperature
    logprobs = torch.log_softmax(tempered, -1)
    chosen = logprobs.gather(1, targets[:, None])
    p = torch.exp(logprobs, out=logits if logits.dtype == torch.float32 else tempered)
    entropy = -torch.linalg.vecdot(p, logprobs)
    if p is not logits:
        logits.copy_(p)
    # From the stored p, the residual of a token that is all but certain would be lost in rounding.
    logits.scatter_(1, targets[:, None], chosen.expm1().to(logits.dtype))
    if slope is not None:
        logits.mul_(slope)
    return chosen[:, 0], entropy


def _changed_in_place(logits: torch.Tensor, change: LogitChange) -> torch.Tensor | float | None:
    """Applies the change, and gives its slope at every logit; None where it is 1."""
    if change.cap is None:
        if change.scale == 1.0:
            return None
        logits.mul_(change.scale)
        return change.scale
    logits.mul_(change.scale / change.cap).tanh_()
    slope = (1.0 - logits.square()).mul_(change.scale)
    logits.mul_(change.cap)
    return slope


class _TokenScores(torch.autograd.Function):
    """A head that trains keeps its residuals, or computes them again where they are too many.

    A frozen head needs their product with its weights alone, formed in the forward pass: (N, H).
    """

    @staticmethod
    def forward(  # noqa: PLR0913 - each is what a gradient could be asked for, or decides over it
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        change: LogitChange,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.trains_head = any(ctx.needs_input_grad[1:3])
        ctx.temperature, ctx.change = temperature, change
        softmax = _Softmax(hidden, weight.to(hidden.dtype), bias, targets, temperature, change)
        numbers = len(targets) * len(weight)
        keeps = ctx.trains_head and numbers * hidden.element_size() <= KEPT_BYTES
        product = torch.empty_like(hidden) if ctx.needs_input_grad[0] and not ctx.trains_head else None
        scores, buffer = [], None
        for part, buffer in softmax.parts(numbers if keeps else REUSED_NUMBERS):
            scores.append(softmax.residuals(part, buffer))
            if product is not None:
                torch.mm(buffer, softmax.matrix, out=product[part])
        ctx.save_for_backward(hidden, weight, bias, targets, product, buffer if keeps else None)
        entropy = torch.cat([entropy for _, entropy in scores])
        ctx.mark_non_differentiable(entropy)
        return torch.cat([logprobs for logprobs, _ in scores]), entropy

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, targets, product, kept = ctx.saved_tensors
        pull = (-grad / ctx.temperature).to(hidden.dtype)[:, None]
        if not ctx.trains_head:
            return (None if product is None else product * pull), *[None] * 5
        softmax = _Softmax(hidden, weight.to(hidden.dtype), bias, targets, ctx.temperature, ctx.change)
        wanted = zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        sums = [torch.zeros_like(t, dtype=torch.float32) if wants else None for t, wants in wanted]
        if kept is not None:
            _add_gradients(sums, softmax, slice(None), kept, pull)
            return *sums, None, None, None
        for part, buffer in softmax.parts(REUSED_NUMBERS):
            softmax.residuals(part, buffer)
            _add_gradients(sums, softmax, part, buffer, pull[part])
        return *sums, None, None, None


def _add_gradients(
    sums: Sequence[torch.Tensor | None],
    softmax: _Softmax,
    part: slice,
    residuals: torch.Tensor,
    pull: torch.Tensor,
) -> None:
    """Adds what `part` contributes to the gradients of hidden, weight and bias, where they are wanted."""
    hidden, weight, bias = sums
    if hidden is not None:
        hidden[part] = (residuals @ softmax.matrix).mul_(pull)
    if weight is not None:
        pulled = softmax.hidden[part] * pull
        if pulled.dtype == weight.dtype:
            weight.addmm_(residuals.t(), pulled)
        else:  # summed in fp32 over parts, each product of which was summed in fp32 too
            weight += residuals.t() @ pulled
    if bias is not None:
        bias += (residuals.t() @ pull)[:, 0]
