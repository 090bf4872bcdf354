"""Settings of `[policy.prompt]`: all that stands round a problem before the policy begins to write."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints

from policies.settings import Settings
from policies.tasks.verifiers.answer_format import AnswerFormat

PLAIN = "plain"  # a template that is no file
MAX_EXAMPLES = 32
StopString = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Example(Settings):
    """One question with its answer, shown before every problem."""

    question: str = Field(min_length=1)
    """What is asked."""
    answer: str = Field(min_length=1)
    """What is to be written; a bare answer is put into the answer format."""


class PromptSettings(Settings):
    """How a problem becomes what the policy reads; `murmur prompt show` prints it. A node's own choice."""

    system: str | None = None
    """System message before every prompt. None leaves it to the model's chat template."""
    template_args: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Arguments of the chat template, such as `enable_thinking = false` for Qwen3."""
    template_file: str = ""
    """File with an own chat template (Jinja), seen from the config's folder, in place of the model's. `plain` is one of
    plain questions and answers, which a model without a template gets anyway."""
    examples: tuple[Example, ...] = Field(default=(), max_length=MAX_EXAMPLES)
    """Questions with answers, put before every problem as turns that went before."""
    answer_format: Literal["free", "answer_tag", "boxed", "last_number"] = "free"
    """What the prompt asks for as the answer's form: `<answer>...</answer>`, `\\boxed{...}`, or a number at the end.
    Every verifier reads the answer there, and the verifier `format` rewards the form alone."""
    stop: tuple[StopString, ...] = Field(default=(), max_length=8)
    """Texts that end a completion, for base models that never end by themselves; the text stops before the first. With
    the plain template and none given: a further `Question:`."""
    max_tokens: PositiveInt | None = None
    """Longest prompt, in tokens with all that stands round it. None: what fits into the context."""
    too_long: Literal["refuse", "skip"] = "refuse"
    """Of a problem whose prompt is longer: refuse to begin the run, or skip it, draw another and count it."""
    wording: Literal["auto", "short", "words"] = "auto"
    """Of the embedded families, whose prompts have two forms: `max 8305`, or words that a language model understands.
    auto: words, except for the embedded policy."""

    @property
    def form(self) -> AnswerFormat:
        return AnswerFormat(self.answer_format)
