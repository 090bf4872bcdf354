"""Text to token ids and back: the policy's own prompts, and completions that may come from anybody."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tokenizers import Encoding as Tokenized
from transformers import PreTrainedTokenizerBase

from policies.policy import PolicyError
from policies.rollout import Finish, Problem
from policies.text.chat.control_tokens import control_ids, literal_tokenizer, plain_tokenizer
from policies.text.chat.plain_template import give_template, stop_texts
from policies.text.chat.settings import PromptSettings
from policies.text.chat.stop_strings import StopStrings
from policies.text.chat.template import ChatTemplate
from policies.text.chat.turn_ends import structural_ids, turn_ends

UNREADABLE_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # what decoding makes of a part of a character


class Encoding:
    """One tokenizer seen from both sides. `completion` and `fit` are thread-safe; the others are not."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: PromptSettings,
        max_tokens: int,
        *,
        generation_eos: Sequence[int] = (),
        vocabulary: int | None = None,
    ) -> None:
        """`max_tokens`: cap of a peer's completion, its end included. `vocabulary`: ids that the model has rows for.

        The tokenizer gets the template that the settings name, or the plain one where it has none.
        Raises PolicyError for a tokenizer that no prompt or completion can be written with.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise PolicyError(
                "the tokenizer has no tokenizer.json; convert it, or choose a model that ships one"
            )
        self._tokenizer = tokenizer
        self._wording = settings.wording
        self._max_tokens = max_tokens
        self._vocabulary = vocabulary
        give_template(tokenizer, settings.template_file)
        self._template = ChatTemplate(tokenizer, settings)
        self.ends = turn_ends(tokenizer, self._template, generation_eos)
        structural = structural_ids(tokenizer, self._template)
        ends = self.ends.stops & tokenizer.added_tokens_decoder.keys()
        self._control_ids = control_ids(tokenizer, structural, ends)
        # Ends that a text may spell: in Gemma's plain template an empty line.
        self._blank_ends = {end for end in ends if tokenizer.added_tokens_decoder[end].content.isspace()}
        self._control_words = [
            token.content
            for index, token in tokenizer.added_tokens_decoder.items()
            if index in self._control_ids
        ]
        self.stop_strings = StopStrings(stop_texts(tokenizer, settings), lambda ids: self._written(ids))
        plain = plain_tokenizer(tokenizer)
        serialised = plain.to_str()
        self.fingerprint = hashlib.sha256(serialised.encode()).hexdigest()[:8]
        """Eight hex digits; equal for equal vocabularies, merges and rules."""
        self._literal = literal_tokenizer(plain, serialised, self._control_ids)
        # What the cap can hold at most: longer texts are cut before they cost any time. Control tokens hold no text.
        words = (word for word, index in plain.get_vocab().items() if index not in self._control_ids)
        self._max_characters = max_tokens * max(map(len, words))
        # The completion that was fitted last: `fit` is followed by `completion` of what it gave.
        self._fitted: tuple[str, Finish, tuple[int, ...]] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how the model is spoken to, for the start of a run."""
        return (*self.ends.notes, *self._template.notes)

    def problem_prompt(self, problem: Problem) -> tuple[int, ...]:
        """The problem's prompt in the wording that the policy reads."""
        return self.prompt(problem.words or problem.prompt if self._wording == "words" else problem.prompt)

    def prompt(self, text: str) -> tuple[int, ...]:
        """The user's message in the tokenizer's chat template, up to where the policy begins to write.

        It never ends with a token that ends a completion, whatever tokenizer or template append. A text that spells
        a control token, as a stranger's row may, is read as characters: it ends no turn and begins none.
        """
        spells = any(word in text for word in self._control_words)
        ids = self._literal_prompt(text) if spells else self._template.prompt_ids(text)
        while len(ids) > 1 and ids[-1] in self.ends.stops:
            ids.pop()
        return tuple(ids)

    def _literal_prompt(self, text: str) -> list[int]:
        before, after = self._template.around_text()
        return [*before, *self._literal.encode(text, add_special_tokens=False).ids, *after]

    def completion(self, text: str, finish: Finish) -> tuple[int, ...]:
        """See `Policy.encode`: no text, however spelled, becomes a control token."""
        last = self._fitted  # read once: another thread may replace it
        return last[2] if last and last[:2] == (text, finish) else self._fitting(text, finish)[2]

    def fit(self, text: str, finish: Finish) -> tuple[str, Finish]:
        """See `Policy.fit`."""
        self._fitted = fitted = self._fitting(text, finish)
        return fitted[:2]

    def spelt(self, ids: Sequence[int]) -> str:
        """Token ids as text, control tokens by their names."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def decode(self, ids: Sequence[int], finish: Finish = Finish.STOP) -> str:
        """The text of a completion without control tokens, and of one that was cut without a part of a character."""
        text = self.stop_strings.before(self._written(ids)) if self.stop_strings else self._written(ids)
        return text if finish is Finish.STOP else text.rstrip(UNREADABLE_CHARACTER)

    def _written(self, ids: Sequence[int]) -> str:
        hidden = self._control_ids | self.ends.stops
        return str(
            self._tokenizer.decode(
                [index for index in ids if index not in hidden],
                skip_special_tokens=False,
                clean_up_tokenization_spaces=False,
            )
        )

    def _fitting(self, text: str, finish: Finish) -> tuple[str, Finish, tuple[int, ...]]:
        """A peer's completion as far as the cap goes, and its token ids. Raises ValueError where nothing is left."""
        if not text:
            raise ValueError("empty completion")
        text.encode()  # a lone surrogate is a ValueError here; tokenizers makes it a TypeError
        if len(text) > self._max_characters:
            text, finish = text[: self._max_characters], Finish.LENGTH
        if self._blank_ends:
            text, finish = self._up_to_its_end(text, finish)
        end = (self.ends.taught,) if finish is Finish.STOP else ()
        tokens = self._literal.encode(text, add_special_tokens=False) if end else None
        if tokens is None or len(tokens.ids) + len(end) > self._max_tokens:
            text, tokens = self._cut(text)
            finish, end = Finish.LENGTH, ()
        ids = tokens.ids
        if not ids:
            raise ValueError("completion without tokens")
        if not self._control_ids.isdisjoint(ids):
            raise ValueError("completion that this tokenizer can only encode with a control token")
        if self._vocabulary is not None and max(ids) >= self._vocabulary:
            raise ValueError("completion with a token that the model has no embedding of")
        return text, finish, (*ids, *end)

    def _up_to_its_end(self, text: str, finish: Finish) -> tuple[str, Finish]:
        """As far as the own policy would have written it, which ends a completion at the first of its ends."""
        tokens = self._literal.encode(text, add_special_tokens=False)
        places = [
            start
            for index, (start, _) in zip(tokens.ids, tokens.offsets, strict=True)
            if index in self._blank_ends
        ]
        return (text[: places[0]], Finish.STOP) if places else (text, finish)

    def _cut(self, text: str) -> tuple[str, Tokenized]:
        """The longest whole characters of `text` whose tokens fit: as the own policy would have been cut."""
        text = _whole(text)
        tokens = self._literal.encode(text, add_special_tokens=False)
        while len(tokens.ids) > self._max_tokens:
            end = min(tokens.offsets[self._max_tokens][0], len(text) - 1)
            text = _whole(text[:end])
            tokens = self._literal.encode(text, add_special_tokens=False)
        return text, tokens


def _whole(text: str) -> str:
    """A text that was cut, without the part of a character at its end; as it is where nothing else is in it."""
    return text.rstrip(UNREADABLE_CHARACTER) or text
