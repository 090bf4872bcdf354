"""A scorer of completions that computes the prompt they share once, forward and backward.

Exact for causal models whose layers attend to what is before a token, wholly or within a window: what a prompt leaves
behind for its completions is its keys and values, and the hidden state of its last token. Experts are chosen token by
token; the term for their balance is taken over the tokens that a micro-batch computes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from policies.text.engine.windows import narrowed_windows, widest_window
from policies.text.gradient_sketch import output_gradient
from policies.text.head import LogitChange, score_tokens
from policies.text.padding import RightPadded, move_padding_right

# What configurations call a factor of the logits behind the head, and a divisor of them.
FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
DIVISORS = ("logits_scaling",)

# What transformers and torch raise at a call that has no meaning for an architecture.
UNCALLABLE = (TypeError, ValueError, AttributeError, LookupError, RuntimeError)
# How far rounding alone takes two ways of scoring apart, beside 1 + the size of the score.
ROUNDING, HALF_ROUNDING = 1e-3, 5e-2

Scores = tuple[torch.Tensor, torch.Tensor]  # log-probs and entropies
# Scores (B, C) log-probs and entropies, given input_ids and attention_mask (B, P + C), C, and compute_entropy.
Reference = Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]
# Term for the balance of experts, given router logits of every layer, experts, experts of a token, mask (B, L).
Balance = Callable[[tuple[torch.Tensor, ...], int, int, torch.Tensor], torch.Tensor]


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
        *,
        balances: bool = False,
    ) -> None:
        """`balances`: whether `balance` is to be had after a call of `score`."""
        self._layers = _attending_layers(model)
        self._change = logit_change(model)
        self._balance_of = _balance_of(model) if balances else None
        self.balance: torch.Tensor | None = None  # of the tokens that the last call of `score` computed
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
        cache = Cache(layers=[DynamicLayer() for _ in range(self._layers)])
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
                hidden = self._hidden_after(self._prompt, completions, attention_mask[:, -width:])
            else:
                hidden = self._hidden(move_padding_right(input_ids, attention_mask, width))
            head = self._model.get_output_embeddings()
            scores = score_tokens(
                hidden[real], head, completions[real], self._temperature, change=self._change
            )
        logprobs, entropy = (
            torch.zeros(real.shape, device=real.device).masked_scatter(real, s) for s in scores
        )
        return logprobs, entropy

    @torch.no_grad()
    def output_gradients(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        weights: torch.Tensor,
        groups: torch.Tensor,
    ) -> dict[int, torch.Tensor]:
        """Gradients to the head, folded, of the weighted sum of the log-probs of each group's completions.

        `weights` (B, C) of the completions' tokens, `groups` (B,) the number of each row's group.
        """
        width, wanted = weights.shape[1], weights != 0
        with self._precision():
            hidden = self._hidden(move_padding_right(input_ids, attention_mask, width))
        head, completions, found = self._model.get_output_embeddings(), input_ids[:, -width:], {}
        for group in sorted({*groups.tolist()}):
            tokens = wanted & (groups == group)[:, None]
            of_group = hidden[tokens], head, completions[tokens], weights[tokens]
            found[group] = output_gradient(*of_group, self._temperature, self._change)
        return found

    @torch.no_grad()
    def compare(self, reference: Reference) -> None:
        """Scores two short rows of one prompt, with and without sharing it, one padded, and each by `reference`.

        The prompt is longer than the model's windows. Raises UnfitError when they differ by more than rounding.
        Without dropout; the model's mode is restored.
        """
        with narrowed_windows(self._model):
            furthest = self._furthest(reference)
        with self._precision():
            half = torch.is_autocast_enabled(self._model.device.type) or self._model.dtype.itemsize == 2
        if not furthest <= (HALF_ROUNDING if half else ROUNDING):
            raise UnfitError(f"its log-probs come out {furthest:.2g} apart from TRL's")

    def _furthest(self, reference: Reference) -> float:
        prompt, width = widest_window(self._model) + 4, 3
        ids = 7919 * torch.arange(prompt + 2 * width) % self._model.get_output_embeddings().out_features
        rows = torch.stack([torch.cat([ids[:prompt], part]) for part in ids[prompt:].split(width)])
        rows = rows.to(self._model.device)
        mask = torch.ones_like(rows)
        was_training = self._model.training
        self._model.eval()
        try:
            balances = {"compute_aux_loss": True} if self._balance_of else {}
            logprobs, entropy, balance = reference(rows, mask, width, compute_entropy=True, **balances)
            expected = (logprobs, entropy)
            found = [(expected, self.score(rows, mask, width))]
            off = 0.0 if balance is None or self.balance is None else _distance(self.balance, balance)
            with self.sharing(rows[0, :prompt]):
                found.append((expected, self.score(rows, mask, width)))
            found.append(self._padded_and_alone(rows, mask, width, reference))
        except UNCALLABLE as error:
            raise UnfitError(f"it cannot be run behind a shared prompt ({error})") from error
        finally:
            self._model.train(was_training)
        return max(off, *(_distance(torch.stack(ours), torch.stack(theirs)) for theirs, ours in found))

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
        # The last token predicts nothing, but TRL counts it in the balance of experts.
        ids, mask = (rows.ids, rows.mask) if self._balance_of else (rows.ids[:, :-1], rows.mask[:, :-1])
        states = self._run(mask, input_ids=ids, use_cache=False)
        before = (rows.places - 1)[:, :, None].expand(-1, -1, states.shape[-1])
        return states.gather(1, before)

    def _run(self, mask: torch.Tensor, **inputs: object) -> torch.Tensor:
        """Hidden states (B, L, H) of one pass; `mask` (B, L) says which of its tokens count in the balance."""
        if self._balance_of is None:
            plain: torch.Tensor = self._model.base_model(**inputs).last_hidden_state
            return plain
        output = self._model.base_model(**inputs, output_router_logits=True)
        experts, of_a_token = self._model.num_experts, self._model.num_experts_per_tok
        self.balance = self._balance_of(output.router_logits, experts, of_a_token, mask)
        states: torch.Tensor = output.last_hidden_state
        return states

    def _hidden_after(
        self, prompt: list[torch.Tensor], completions: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The same states behind a shared prompt, whose keys and values the rows read where they lie."""
        rows, width = completions.shape
        first = prompt[0].expand(rows, -1, -1)
        if width == 1:
            self.balance = first.new_zeros(()) if self._balance_of else None
            return first
        layers = []
        for keys, values in zip(prompt[1::2], prompt[2::2], strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (state.expand(rows, -1, -1, -1) for state in (keys, values))
            layers.append(layer)
        later = self._run(
            mask[:, :-1],
            input_ids=completions[:, :-1],
            past_key_values=Cache(layers=layers),
            use_cache=True,
        )
        return torch.cat([first, later], 1)


def logit_change(model: PreTrainedModel) -> LogitChange:
    """What the model does to its logits behind the head, by the names that configurations have for it."""
    config = model.config.get_text_config()
    scale = 1.0
    for name in (*FACTORS, *DIVISORS):
        factor = getattr(config, name, None)
        if factor is not None:
            scale = scale * factor if name in FACTORS else scale / factor
    return LogitChange(scale, getattr(config, "final_logit_softcapping", None))


def _attending_layers(model: PreTrainedModel) -> int:
    """How many layers keep keys and values. Raises UnfitError for a structure that is known not to fit."""
    if type(model.get_output_embeddings()) is not torch.nn.Linear:
        raise UnfitError("its head is not a plain linear layer")
    layers = DynamicCache(config=model.config).layers
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise UnfitError("some of its layers keep states of what they have read")
    return len(layers) or int(model.config.get_text_config().num_hidden_layers)


def _balance_of(model: PreTrainedModel) -> Balance:
    """The function beside the model's own code; raises UnfitError where there is none, or it cannot be called."""
    found: Balance | None = getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
    if found is None or not (hasattr(model, "num_experts") and hasattr(model, "num_experts_per_tok")):
        raise UnfitError("its loss has a term for the balance of experts that only it can compute")
    return found


def _distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).abs() / (1 + theirs.abs())).max())
