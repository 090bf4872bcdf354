"""A hand-written GRPO: row by row, no padding, no TRL."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from policies.text.batching import Row
from policies.text.settings import TrainerSettings

# Two float32 sums of the same terms in another order: 1e-6 to 4e-6 of the largest gradient were seen, depending on
# the processor and its threads. A wrong mask, ratio or normaliser is off by 1e-3 and more.
ROUNDING = 1e-5


def completion_logprobs(model: torch.nn.Module, row: Row, temperature: float = 1.0) -> torch.Tensor:
    """Log-probs (C, vocabulary) at the places of the completion's tokens."""
    ids = torch.tensor([[*row.prompt_ids, *row.token_ids]])
    logits = model(input_ids=ids).logits[0, len(row.prompt_ids) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1)


def token_logprobs(model: torch.nn.Module, row: Row, temperature: float = 1.0) -> torch.Tensor:
    chosen = torch.tensor(row.token_ids)[:, None]
    return completion_logprobs(model, row, temperature).gather(1, chosen)[:, 0]


def hand_written_loss(
    model: torch.nn.Module,
    rows: Sequence[Row],
    settings: TrainerSettings,
    temperature: float = 1.0,
    normaliser: float | None = None,
) -> torch.Tensor:
    trained = [
        torch.tensor([not skipped for skipped in row.untrained or [False] * len(row.token_ids)])
        for row in rows
    ]
    total = normaliser or sum(int(mask.sum()) for mask in trained)
    loss = torch.zeros(())
    for row, mask in zip(rows, trained, strict=True):
        logprobs = token_logprobs(model, row, temperature)
        old = logprobs.detach() if row.logprobs is None else torch.tensor(row.logprobs)
        ratio = (logprobs - old).exp()
        if settings.loss == "cispo":
            objective = ratio.clamp(max=settings.epsilon_high).detach() * row.advantage * logprobs
        else:
            clipped = ratio.clamp(1 - settings.epsilon_low, 1 + settings.epsilon_high)
            objective = torch.min(ratio * row.advantage, clipped * row.advantage)
        loss = loss - objective[mask].sum() / total
    return loss


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def largest_relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    scale = max(float(value.abs().max()) for value in theirs.values())
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) / scale
