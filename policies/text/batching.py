"""Padded micro-batches for TRL's GRPO loss, made from groups of any size. Pure functions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch

from policies.rollout import Finish, Group, Problem, Rollout, TrainGroup

# What a prompt's token costs a row that reads its keys and values, against a token that the row computes: each
# layer keeps two vectors for it, in place of the sixteen or so that the backward pass wants of a token.
CACHED_TOKEN_COST = 1 / 8
# Advantages up to this are zero: rounding leaves 1e-17 of them where all rewards are equal.
NO_ADVANTAGE = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout as the trainer sees it. Per-token fields are as long as `token_ids`."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    advantage: float
    logprobs: tuple[float, ...] | None  # what the ratio is taken against; None: unknown, it starts at 1
    stale: tuple[bool, ...] | None = None  # tokens of an older policy version; None: no token is
    untrained: tuple[bool, ...] | None = None  # tokens that are context only; None: no token is
    sampled: tuple[float, ...] | None = None  # log-probs that the own sampler recorded
    reference: tuple[float, ...] | None = None  # log-probs that a KL term is taken against
    external: bool = False  # written by a peer

    @property
    def trained_tokens(self) -> int:
        return len(self.token_ids) - sum(self.untrained or ())

    @property
    def learns(self) -> bool:
        """Whether it adds to the gradient. NaN does: it is found there."""
        return not abs(self.advantage) <= NO_ADVANTAGE and self.trained_tokens > 0

    def without_stale(self) -> Row:
        """Stale tokens stay as context for the others."""
        return self if self.stale is None else self.skipping(self.stale)

    def skipping(self, skipped: Sequence[bool]) -> Row:
        """With further tokens that are context only."""
        before = self.untrained or (False,) * len(self.token_ids)
        return replace(self, untrained=tuple(a or b for a, b in zip(before, skipped, strict=True)))

    def against(self, own: Sequence[float]) -> Row:
        """Takes `own` log-probs where a token is stale, and everywhere when none were known."""
        if self.logprobs is None or self.stale is None:
            return replace(self, logprobs=tuple(own))
        choices = zip(self.stale, own, self.logprobs, strict=True)
        return replace(self, logprobs=tuple(mine if stale else known for stale, mine, known in choices))


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together."""

    rows: tuple[Row, ...]
    shared_prompt: tuple[int, ...] | None = None  # computed once for all micro-batches that share it

    @property
    def trained_tokens(self) -> int:
        return sum(row.trained_tokens for row in self.rows)


def rows_of(
    batch: Sequence[TrainGroup],
    encode_prompt: Callable[[Problem], tuple[int, ...]],
    version: int = 0,
    *,
    mask_truncated: bool = False,
) -> list[Row]:
    """One row for every rollout that has a token. Own tokens of a policy before `version` are stale.

    `mask_truncated`: rollouts that were cut at the cap are context only.
    """
    rows: list[Row] = []
    for member in batch:
        prompt_ids = encode_prompt(member.group.problem)
        external = member.group.external
        skipped = member.skipped or (None,) * len(member.group.rollouts)
        for rollout, advantage, mask in zip(member.group.rollouts, member.advantages, skipped, strict=True):
            if rollout.token_ids:
                stale = _stale(member.group, rollout, version)
                known = rollout.logprobs
                sampled = None if external else known
                cut = mask_truncated and rollout.finish is Finish.LENGTH
                untrained = (True,) * len(rollout.token_ids) if cut else mask
                rows.append(
                    Row(
                        prompt_ids,
                        rollout.token_ids,
                        advantage,
                        known,
                        stale,
                        untrained,
                        sampled=sampled,
                        external=external,
                    )
                )
    return rows


def pack(rows: Sequence[Row], token_budget: int, least_saving: float = math.inf) -> list[MicroBatch]:
    """Splits rows into micro-batches that cost at most `token_budget` tokens; see `cost`.

    A row that costs more makes a micro-batch of its own. A prompt is shared where that spares `least_saving`
    tokens; its micro-batches follow each other.
    Sorted by length, so that little is padding; by prompt first, so that a group stays together.
    """
    of_prompt: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        of_prompt[row.prompt_ids].append(row)
    batches: list[MicroBatch] = []
    alone: list[Row] = []
    for prompt, members in of_prompt.items():
        if (len(members) - 1) * len(prompt) >= least_saving:
            batches += _filled(members, token_budget, prompt)
        else:
            alone += members
    return batches + _filled(alone, token_budget, None)


def cost(rows: Sequence[Row], shared_prompt: tuple[int, ...] | None = None) -> float:
    """Tokens that a micro-batch computes, padding included, as a measure of its memory.

    With a shared prompt: the prompt once, the completions, and what each row reads of the prompt.
    """
    width = max(len(row.token_ids) for row in rows)
    if shared_prompt is None:
        return len(rows) * (max(len(row.prompt_ids) for row in rows) + width)
    return len(shared_prompt) + len(rows) * (width + CACHED_TOKEN_COST * len(shared_prompt))


def collate(
    rows: Sequence[Row], pad_id: int, normaliser: float, device: torch.device
) -> dict[str, torch.Tensor]:
    """One micro-batch in the fields of `GRPOTrainer._generate_and_score_completions`.

    B rows, P prompt tokens, C completion tokens: prompt_ids and prompt_mask (B, P) padded on the left,
    completion_ids, completion_mask, old_per_token_logps and tool_mask (B, C) padded on the right, advantages
    (B,). tool_mask is 0 at tokens that are not trained on. known_rows (B, 1) is there where some rows have
    old_per_token_logps and others do not: see `ScoringTrainer`. `normaliser` divides the sum of the loss over all
    tokens; being that of the whole step, the losses of unequal micro-batches add up to the loss of the step.
    """
    prompt_ids, prompt_mask = _pad([row.prompt_ids for row in rows], pad_id, left=True)
    completion_ids, completion_mask = _pad([row.token_ids for row in rows], pad_id, left=False)
    fields = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([row.advantage for row in rows], dtype=torch.float32),
        "num_items_in_batch": torch.tensor(float(normaliser)),
    }
    known = [row.logprobs is not None for row in rows]
    if any(known):
        behaviour = [row.logprobs or () for row in rows]
        fields["old_per_token_logps"] = _pad_right(behaviour, torch.zeros(completion_ids.shape))
    if any(known) and not all(known):
        fields["known_rows"] = torch.tensor(known)[:, None]
    references = [row.reference for row in rows if row.reference is not None]
    if references:
        fields["ref_per_token_logps"] = _pad_right(references, torch.zeros(completion_ids.shape))
    if any(row.untrained for row in rows):
        trained = [[not skipped for skipped in row.untrained or [False] * len(row.token_ids)] for row in rows]
        fields["tool_mask"] = _pad_right(trained, torch.zeros_like(completion_mask))
    return {name: tensor.to(device) for name, tensor in fields.items()}


def whole_rows(fields: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids and attention_mask (B, P + C) of what `collate` made."""
    ids = torch.cat([fields["prompt_ids"], fields["completion_ids"]], 1)
    return ids, torch.cat([fields["prompt_mask"], fields["completion_mask"]], 1)


def _stale(group: Group, rollout: Rollout, version: int) -> tuple[bool, ...] | None:
    if group.external or all(segment.policy_version >= version for segment in rollout.segments):
        return None
    marks = ([part.policy_version < version] * len(part.token_ids) for part in rollout.segments)
    return tuple(chain.from_iterable(marks))


def _filled(rows: Sequence[Row], budget: int, shared_prompt: tuple[int, ...] | None) -> list[MicroBatch]:
    ordered = sorted(rows, key=lambda row: (len(row.prompt_ids), len(row.token_ids)))
    filled: list[list[Row]] = []
    for row in ordered:
        current = filled[-1] if filled else []
        if current and cost([*current, row], shared_prompt) <= budget:
            current.append(row)
        else:
            filled.append([row])
    return [MicroBatch(tuple(batch), shared_prompt) for batch in filled]


def _pad(ids: Sequence[tuple[int, ...]], pad_id: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, ids))
    tokens = torch.full((len(ids), width), pad_id)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for index, row in enumerate(ids):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return tokens, mask


def _pad_right(rows: Sequence[Sequence[float]], empty: torch.Tensor) -> torch.Tensor:
    """Writes `rows` into `empty`, in its type."""
    for index, row in enumerate(rows):
        empty[index, : len(row)] = torch.tensor(row)
    return empty
