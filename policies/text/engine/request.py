"""Requests and results of the generation engine: token ids, never text."""

from __future__ import annotations

from dataclasses import dataclass

from policies.rollout import Finish


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to sample, or one to carry on."""

    prompt_ids: tuple[int, ...]
    key: int  # 63 bits; with a token's position it determines the token's random draw
    max_new_tokens: int  # length cap, counted from the prompt's end; `begun_ids` count
    begun_ids: tuple[int, ...] = ()  # sampled by earlier calls; taken as they are, never re-tokenised


@dataclass(frozen=True, slots=True)
class Continuation:
    """What one call sampled for one request."""

    token_ids: tuple[int, ...]  # new ones only; empty where the call ended before the request's turn
    logprobs: tuple[float, ...]  # behaviour log-probs of the tempered, untruncated distribution, in nats
    finish: Finish


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen from the logits."""

    temperature: float = 1.0  # 0: the likeliest token; its log-prob is then that at temperature 1
    top_k: int | None = None  # choose among the k likeliest
    top_p: float | None = None  # choose among the fewest that together have this probability
