"""A comparison of the trainer's scores of padded rows with plain forward passes of each row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from policies.text.batching import Row, collate, whole_rows
from policies.text.engine.probe import SAMPLED, probe_texts
from policies.text.engine.windows import narrowed_windows

# How far rounding alone takes them apart, beside 1 + the size of a log-prob.
ROUNDING, HALF_ROUNDING = 1e-4, 5e-2
SHARPER = 8.0

# Log-probs (B, C) of completions, given input_ids and attention_mask (B, P + C) and C.
Score = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


@torch.no_grad()
def scoring_error(
    score: Score, model: PreTrainedModel, temperature: float, pad_id: int, *, together: bool, coarse: bool
) -> float:
    """How far `score` is from plain passes, as a share of what rounding explains: above 1 it is wrong.

    Over a row longer than every window and a short one, in one padded micro-batch if `together`. `coarse`: scores are
    computed in bfloat16. In inference mode; the model's mode is restored.
    """
    was_training = model.training
    model.eval()
    try:
        with narrowed_windows(model), _sharpened(model):
            rows = [Row(ids[:-SAMPLED], ids[-SAMPLED:], 1.0, None) for ids in probe_texts(model)]
            batches = [rows] if together else [[row] for row in rows]
            found = torch.cat([_scored(score, batch, pad_id, model.device) for batch in batches])
            expected = torch.stack([_plain(model, row, temperature) for row in rows])
    finally:
        model.train(was_training)
    distance = ((found - expected).abs() / (1 + expected.abs())).max()
    return float(distance) / (HALF_ROUNDING if coarse else ROUNDING)


@contextmanager
def _sharpened(model: PreTrainedModel) -> Iterator[None]:
    """Inside, logits are so far apart that a cap or a scale which one side leaves out shows."""
    weight = model.get_output_embeddings().weight
    before = weight.detach().clone()
    weight.mul_(SHARPER)
    try:
        yield
    finally:
        weight.copy_(before)


def _scored(score: Score, rows: list[Row], pad_id: int, device: torch.device) -> torch.Tensor:
    fields = collate(rows, pad_id, 1.0, device)
    return score(*whole_rows(fields), SAMPLED).float()


def _plain(model: PreTrainedModel, row: Row, temperature: float) -> torch.Tensor:
    """Log-probs (C,) of the row's completion."""
    ids = torch.tensor([[*row.prompt_ids, *row.token_ids]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1].float()
    chosen = torch.tensor(row.token_ids, device=model.device)[:, None]
    return torch.log_softmax(logits / temperature, dim=-1).gather(1, chosen)[:, 0]
