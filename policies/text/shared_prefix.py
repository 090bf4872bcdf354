"""A scorer of completions that computes the prompt they share once, forward and backward.

Exact for causal models whose layers all attend to everything before a token: what a prompt leaves behind for
its completions is its keys and values, and the hidden state of its last token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from policies.text.head import score_tokens
from policies.text.padding import RightPadded, move_padding_right

# What configurations call a change that a model makes to its logits after the head.
LOGIT_CHANGES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


# What transformers and torch raise at a call that has no meaning for an architecture.
UNCALLABLE = (TypeError, ValueError, AttributeError, LookupError, RuntimeError)
# How far rounding alone takes two ways of scoring apart, beside 1 + the size of the score.
ROUNDING, HALF_ROUNDING = 1e-3, 5e-2

Scores = tuple[torch.Tensor, torch.Tensor]  # log-probs and entropies
# Scores (B, C) log-probs and entropies, given input_ids and attention_mask (B, P + C), C, and compute_entropy.
Reference = Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]


class UnfitError(RuntimeError):
    """A model that `CompletionScorer` would score wrongly; the message says what it does otherwise."""


class CompletionScorer:
    """Log-probs and entropies of completions under `model`, with gradients to its parameters.

    The entropy has none. `precision` opens the autocast context that the model is to run in. Raises UnfitError
    for a structure that is known not to fit; `compare` finds the rest.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        temperature: float,
        precision: Callable[[], AbstractContextManager[None]],
    ) -> None:
        _refuse(model)
        self._model = model
        self._temperature = temperature
        self._precision = precision
        self._prompt: list[torch.Tensor] | None = None

    @contextmanager
    def sharing(self, prompt_ids: torch.Tensor) -> Iterator[None]:
        """Inside, `score` takes every row for a completion of this prompt (P,), which is computed once.

        Each backward pass inside leaves its gradient at the keys and values of the prompt. What has gathered
        there goes through the prompt once, at the end; so memory does not depend on the number of rows.
        """
        cache = DynamicCache(config=self._model.config)
        with self._precision():
            output = self._model.base_model(input_ids=prompt_ids[None], past_key_values=cache, use_cache=True)
        states = [output.last_hidden_state[:, -1:]]
        for layer in cache.layers:
            states += [layer.keys, layer.values]
        leaves = [state.detach().requires_grad_(state.requires_grad) for state in states]
        self._prompt = leaves
        try:
            yield
        finally:
            self._prompt = None
        pulled = [
            (state, leaf.grad) for state, leaf in zip(states, leaves, strict=True) if leaf.grad is not None
        ]
        if pulled:
            torch.autograd.backward([state for state, _ in pulled], [grad for _, grad in pulled])

    def score(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs and entropies (B, C) of the last `width` = C tokens of each row; 0 where they are padding.

        input_ids and attention_mask (B, P + C): prompts padded on the left, completions on the right.
        """
        completions, real = input_ids[:, -width:], attention_mask[:, -width:].bool()
        with self._precision():
            if self._prompt is not None:
                hidden = self._hidden_after(self._prompt, completions)
            else:
                hidden = self._hidden(move_padding_right(input_ids, attention_mask, width))
            scores = score_tokens(
                hidden[real], self._model.get_output_embeddings(), completions[real], self._temperature
            )
        logprobs, entropy = (
            torch.zeros(real.shape, device=real.device).masked_scatter(real, s) for s in scores
        )
        return logprobs, entropy

    @torch.no_grad()
    def compare(self, reference: Reference) -> None:
        """Scores two short rows of one prompt, with and without sharing it, one padded, and each by `reference`.

        Raises UnfitError when they differ by more than rounding. Without dropout; the model's mode is restored.
        """
        prompt, width = 4, 3
        ids = 7919 * torch.arange(prompt + 2 * width) % self._model.get_output_embeddings().out_features
        rows = torch.stack([torch.cat([ids[:prompt], part]) for part in ids[prompt:].split(width)])
        rows = rows.to(self._model.device)
        mask = torch.ones_like(rows)
        was_training = self._model.training
        self._model.eval()
        try:
            expected = reference(rows, mask, width, compute_entropy=True)[:2]
            found = [(expected, self.score(rows, mask, width))]
            with self.sharing(rows[0, :prompt]):
                found.append((expected, self.score(rows, mask, width)))
            found.append(self._padded_and_alone(rows, mask, width, reference))
        except UNCALLABLE as error:
            raise UnfitError(f"it cannot be run behind a shared prompt ({error})") from error
        finally:
            self._model.train(was_training)
        with self._precision():
            half = torch.is_autocast_enabled(rows.device.type) or self._model.dtype.itemsize == 2
        furthest = max(_distance(torch.stack(ours), torch.stack(theirs)) for theirs, ours in found)
        if not furthest <= (HALF_ROUNDING if half else ROUNDING):
            raise UnfitError(f"its log-probs come out {furthest:.2g} apart from TRL's")

    def _padded_and_alone(
        self, rows: torch.Tensor, mask: torch.Tensor, width: int, reference: Reference
    ) -> tuple[Scores, Scores]:
        """Scores (2, C) of `rows`, the last with a prompt two tokens shorter: by `reference` each alone, and ours."""
        padded = mask.clone()
        padded[-1, :2] = 0
        parts = [rows[:1], rows[1:, 2:]]
        alone = [reference(part, torch.ones_like(part), width, compute_entropy=True)[:2] for part in parts]
        expected = (
            torch.cat([logprobs for logprobs, _ in alone]),
            torch.cat([entropy for _, entropy in alone]),
        )
        return expected, self.score(rows, padded, width)

    def _hidden(self, rows: RightPadded) -> torch.Tensor:
        """States (B, C, H) that the completions' tokens are predicted from."""
        # Padding on the right needs no mask, as nothing before it sees it; without one, attention is faster.
        output = self._model.base_model(input_ids=rows.ids[:, :-1], use_cache=False)
        states: torch.Tensor = output.last_hidden_state
        before = (rows.places - 1)[:, :, None].expand(-1, -1, states.shape[-1])
        return states.gather(1, before)

    def _hidden_after(self, prompt: list[torch.Tensor], completions: torch.Tensor) -> torch.Tensor:
        """The same states behind a shared prompt, whose keys and values the rows read where they lie."""
        rows, width = completions.shape
        first = prompt[0].expand(rows, -1, -1)
        if width == 1:
            return first
        layers = []
        for keys, values in zip(prompt[1::2], prompt[2::2], strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (state.expand(rows, -1, -1, -1) for state in (keys, values))
            layers.append(layer)
        output = self._model.base_model(
            input_ids=completions[:, :-1], past_key_values=Cache(layers=layers), use_cache=True
        )
        return torch.cat([first, output.last_hidden_state], 1)


def _refuse(model: PreTrainedModel) -> None:
    config = model.config.get_text_config()
    changes = [name for name in LOGIT_CHANGES if getattr(config, name, None) not in (None, 1.0)]
    if changes:
        raise UnfitError(f"it changes its logits after the head ({changes[0]})")
    if any(getattr(config, name, None) for name in EXPERTS):
        raise UnfitError("it routes tokens to experts")
    if type(model.get_output_embeddings()) is not torch.nn.Linear:
        raise UnfitError("its head is not a plain linear layer")
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        raise UnfitError("some of its layers do not attend to the whole context")


def _distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).abs() / (1 + theirs.abs())).max())
