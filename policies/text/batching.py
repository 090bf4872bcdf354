"""From groups of any size to the padded micro-batches that TRL's GRPO loss reads. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from policies.rollout import TrainGroup


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout as the trainer sees it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    advantage: float
    logprobs: tuple[float, ...] | None  # behaviour log-probs; None: unknown, the ratio starts at 1


def rows_of(batch: Sequence[TrainGroup], encode_prompt: Callable[[str], tuple[int, ...]]) -> list[Row]:
    """One row for every rollout that has a token."""
    rows: list[Row] = []
    for member in batch:
        prompt_ids = encode_prompt(member.group.problem.prompt)
        for rollout, advantage in zip(member.group.rollouts, member.advantages, strict=True):
            if rollout.token_ids:
                rows.append(Row(prompt_ids, rollout.token_ids, advantage, rollout.logprobs))
    return rows


def pack(rows: Sequence[Row], token_budget: int) -> list[list[Row]]:
    """Splits rows into micro-batches of at most `token_budget` tokens, padding included.

    A longer row makes a micro-batch of its own. Rows with and without behaviour log-probs never share one:
    TRL takes the field for all rows or for none.
    Sorted by length, so that little is padding; by prompt first, so that a group stays together.
    """
    ordered = sorted(rows, key=lambda row: (row.logprobs is None, len(row.prompt_ids), len(row.token_ids)))
    batches: list[list[Row]] = []
    for row in ordered:
        current = batches[-1] if batches else []
        alike = bool(current) and (current[0].logprobs is None) == (row.logprobs is None)
        if alike and _padded_tokens([*current, row]) <= token_budget:
            current.append(row)
        else:
            batches.append([row])
    return batches


def collate(
    rows: Sequence[Row], pad_id: int, trained_tokens: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """One micro-batch in the fields of `GRPOTrainer._generate_and_score_completions`.

    B rows, P prompt tokens, C completion tokens: prompt_ids and prompt_mask (B, P) padded on the left,
    completion_ids, completion_mask and old_per_token_logps (B, C) padded on the right, advantages (B,).
    `trained_tokens` counts the completion tokens of the whole step: with it, the losses of unequal
    micro-batches add up to the loss of the step.
    """
    prompts = [row.prompt_ids for row in rows]
    completions = [row.token_ids for row in rows]
    prompt_ids, prompt_mask = _pad(prompts, pad_id, left=True)
    completion_ids, completion_mask = _pad(completions, pad_id, left=False)
    fields = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([row.advantage for row in rows], dtype=torch.float32),
        "num_items_in_batch": torch.tensor(float(trained_tokens)),
    }
    known = [row.logprobs for row in rows if row.logprobs is not None]
    if known:
        old = torch.zeros(completion_ids.shape)
        for index, logprobs in enumerate(known):
            old[index, : len(logprobs)] = torch.tensor(logprobs)
        fields["old_per_token_logps"] = old
    return {name: tensor.to(device) for name, tensor in fields.items()}


def _padded_tokens(rows: Sequence[Row]) -> int:
    prompt = max(len(row.prompt_ids) for row in rows)
    completion = max(len(row.token_ids) for row in rows)
    return len(rows) * (prompt + completion)


def _pad(ids: Sequence[tuple[int, ...]], pad_id: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, ids))
    tokens = torch.full((len(ids), width), pad_id)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for index, row in enumerate(ids):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return tokens, mask
