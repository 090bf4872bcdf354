"""Prompts as a model's chat template writes them, with system message, examples and the answer's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.defaults
from jinja2 import meta
from transformers import PreTrainedTokenizerBase

from policies.policy import PolicyError
from policies.text.chat.settings import PromptSettings

# A word that no template has a reason to change: it marks where a turn's text stands in the rendered prompt.
MARKER = "murmuration"
# What Jinja raises on a template that is broken or refuses its messages, and Python inside one.
UNRENDERABLE = (
    *(jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError),
    *(ArithmeticError, RecursionError),  # loops beyond what the sandbox allows, and macros without an end
)
# Given by transformers or by this module, whatever the template.
SUPPLIED = {
    *("messages", "add_generation_prompt", "tools", "documents", "raise_exception", "strftime_now"),
    *(f"{name}_token" for name in ("bos", "eos", "pad", "unk", "sep", "cls", "mask", "additional_special")),
    *jinja2.defaults.DEFAULT_NAMESPACE,
}
# transformers' own tag, which plain Jinja cannot read.
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")

Turn = tuple[str, str]  # role and text


def spoken(settings: PromptSettings, text: str) -> list[Turn]:
    """What is said before the policy begins to write: system message, examples, and the question in its form."""
    form = settings.form

    def asked(question: str) -> Turn:
        return "user", f"{question}\n\n{form.instruction}" if form.instruction else question

    def answered(answer: str) -> Turn:
        return "assistant", answer if form.kept(answer) else form.written(answer)

    shown = [turn for e in settings.examples for turn in (asked(e.question), answered(e.answer))]
    return [*([("system", settings.system)] if settings.system is not None else []), *shown, asked(text)]


class ChatTemplate:
    """One tokenizer's template with what one policy's settings put round a problem.

    A template that refuses or drops a system message gets it at the head of the user's turn, and one that takes
    text in parts only gets parts; `notes` says what was done so. Raises PolicyError where a user's turn cannot be
    rendered at all, and for arguments that the template does not know.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: PromptSettings) -> None:
        self._tokenizer = tokenizer
        self._arguments = dict(settings.template_args)
        self._settings = settings
        self._in_parts = False
        self.notes: tuple[str, ...] = ()
        _check_arguments(tokenizer, self._arguments)
        self._choose_form()
        self._fold = settings.system is not None and not self._takes_system()
        if self._fold:
            self.notes = ("the chat template takes no system message: it is put before the user's",)
        if settings.examples and MARKER not in (self.rendered(self.turns(MARKER)) or ""):
            raise PolicyError(
                "the tokenizer's chat template takes no turns before the user's: leave prompt.examples out, or set "
                "prompt.template_file to one that does ('plain' does)"
            )

    def prompt_ids(self, text: str) -> list[int]:
        """The user's turn, up to where the assistant begins to write."""
        encoded = self._tokenizer.apply_chat_template(
            self._messages(self.turns(text)), add_generation_prompt=True, return_dict=True, **self._arguments
        )
        return list(encoded["input_ids"])

    def around_text(self) -> tuple[list[int], list[int]]:
        """Token ids of all that stands before and behind the user's text in `prompt_ids`."""
        rendered = str(
            self._tokenizer.apply_chat_template(
                self._messages(self.turns(MARKER)),
                add_generation_prompt=True,
                tokenize=False,
                **self._arguments,
            )
        )
        before, _, after = rendered.rpartition(MARKER)
        ids = (self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after))
        return list(next(ids)), list(next(ids))

    def turns(self, text: str) -> list[Turn]:
        """The system message, where the template takes one, the examples, and the user's turn."""
        turns = spoken(self._settings, text)
        if not self._fold:
            return turns
        _, (role, first), *further = turns
        return [(role, f"{self._settings.system}\n\n{first}"), *further]

    def rendered(self, turns: Sequence[Turn]) -> str | None:
        """The turns as text, with no assistant's turn begun behind them. None where the template refuses them."""
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    self._messages(turns), add_generation_prompt=False, tokenize=False, **self._arguments
                )
            )
        except UNRENDERABLE:
            return None

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self._in_parts else text}
            for role, text in turns
        ]

    def _choose_form(self) -> None:
        """Text as it is where that is rendered, else in parts, as templates of some multimodal models want it."""
        for self._in_parts in (False, True):
            if MARKER in (self.rendered([("user", MARKER)]) or ""):
                return
        raise PolicyError(
            "the tokenizer's chat template cannot render a user's turn; replace chat_template.jinja (or chat_template "
            "in tokenizer_config.json) by that of the model's publisher, or remove it to have prompts go in as they are"
        )

    def _takes_system(self) -> bool:
        return MARKER in (self.rendered([("system", MARKER), ("user", "1")]) or "")


def _check_arguments(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    """Jinja ignores arguments that a template does not use, so that a misspelt one would do nothing."""
    if not arguments:
        return
    source = GENERATION_TAG.sub("", tokenizer.get_chat_template())
    try:
        tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(source)
    except jinja2.TemplateError as error:
        raise PolicyError(f"the tokenizer's chat template is no Jinja template: {error}") from error
    known = meta.find_undeclared_variables(tree) - SUPPLIED
    for name in arguments:
        if name not in known:
            takes = ", ".join(sorted(known)) or "none"
            raise PolicyError(
                f"prompt.template_args.{name}: the chat template knows no such argument; it takes: {takes}"
            )
