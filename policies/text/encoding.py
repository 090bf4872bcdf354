"""Text to token ids and back: the policy's own prompts, and completions that may come from anybody."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from policies.policy import PolicyError
from policies.rollout import Finish


class Encoding:
    """One tokenizer seen from both sides. `completion` is thread-safe; `prompt` and `decode` are not."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system: str | None, max_new_tokens: int) -> None:
        if not tokenizer.is_fast:
            raise PolicyError(
                "the tokenizer has no tokenizer.json; convert it, or choose a model that ships one"
            )
        if tokenizer.eos_token_id is None:
            raise PolicyError(
                "the tokenizer names no end-of-sequence token; set eos_token in its configuration"
            )
        self._tokenizer = tokenizer
        self._system = system
        self._max_new_tokens = max_new_tokens
        self._eos_id = tokenizer.eos_token_id
        # A copy of its own: transformers switches the shared one's handling of control tokens call by call.
        self._literal = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._literal.encode_special_tokens = True
        self._literal.no_truncation()
        self._literal.no_padding()
        added = tokenizer.added_tokens_decoder.items()
        self._control_ids = frozenset(tokenizer.all_special_ids) | {i for i, token in added if token.special}

    @property
    def fingerprint(self) -> str:
        """Eight hex digits; equal for equal vocabularies, merges and rules."""
        return hashlib.sha256(self._literal.to_str().encode()).hexdigest()[:8]

    def prompt(self, text: str) -> tuple[int, ...]:
        """The user's message in the tokenizer's chat template, up to where the policy begins to write."""
        if self._tokenizer.chat_template is None:
            plain = text if self._system is None else f"{self._system}\n{text}"
            return tuple(self._tokenizer(plain)["input_ids"])
        system = [] if self._system is None else [{"role": "system", "content": self._system}]
        messages = [*system, {"role": "user", "content": text}]
        encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return tuple(encoded["input_ids"])

    def completion(self, text: str, finish: Finish) -> tuple[int, ...]:
        """See `Policy.encode`: no text, however spelled, becomes a control token."""
        if not text:
            raise ValueError("empty completion")
        text.encode()  # a lone surrogate is a ValueError here; tokenizers makes it a TypeError
        ids = self._literal.encode(text, add_special_tokens=False).ids
        if not ids:
            raise ValueError("completion without tokens")
        if not self._control_ids.isdisjoint(ids):
            raise ValueError("completion that this tokenizer can only encode with a control token")
        if finish is Finish.STOP:
            ids = [*ids, self._eos_id]
        if len(ids) > self._max_new_tokens:
            raise ValueError(f"completion of {len(ids)} tokens; at most {self._max_new_tokens} are taken")
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion without special tokens."""
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
