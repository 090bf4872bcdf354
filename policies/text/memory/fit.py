"""The fit of a text policy into memory, and the smallest change that would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from policies.text.memory.estimate import Estimate, Load, estimate
from policies.text.memory.shape import Shape
from policies.text.settings import LoraSettings, ModelSettings, TextSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """The keys that decide over memory."""

    model: ModelSettings
    settings: TextSettings
    load: Load

    def trainer(self, **changed: object) -> Choice:
        trainer = self.settings.trainer.model_copy(update=changed)
        return Choice(self.model, self.settings.model_copy(update={"trainer": trainer}), self.load)

    def shaped(self, **changed: object) -> Choice:
        return Choice(self.model.model_copy(update=changed), self.settings, self.load)


Shaper = Callable[[ModelSettings], Shape]


@dataclass(frozen=True, slots=True)
class Fit:
    """An estimate against what is free."""

    estimate: Estimate
    free: int
    remedy: str | None = None  # what to set where it does not fit; None where it fits, or nothing helps

    @property
    def fits(self) -> bool:
        return self.estimate.peak <= self.free


def fit_of(choice: Choice, free: int, shaper: Shaper, *, cuda: bool) -> Fit:
    """`shaper` gives the shape of the model under other settings; it is asked again only where a change needs it."""

    def planned(tried: Choice) -> Estimate:
        return estimate(shaper(tried.model), tried.model, tried.settings, tried.load, free, cuda=cuda)

    found = planned(choice)
    if found.peak <= free:
        return Fit(found, free)
    changes = list(_changes(choice))
    alone = ((words, change(choice)) for words, change in changes)
    together = accumulate(changes, lambda done, new: (f"{done[0]} and {new[0]}", _both(done[1], new[1])))
    for words, tried in (*alone, *((words, change(choice)) for words, change in together)):
        if planned(tried).peak <= free:
            return Fit(found, free, words)
    return Fit(found, free)


Change = Callable[[Choice], Choice]


def _both(first: Change, second: Change) -> Change:
    return lambda choice: second(first(choice))


def _changes(choice: Choice) -> Iterator[tuple[str, Change]]:
    """From the one that changes least what is learnt and how fast to the one that changes most."""
    model, trainer = choice.model, choice.settings.trainer
    one = choice.load.one
    if trainer.most_tokens > one:
        # The update halves it by itself, down to one rollout; named here, it needs no second try.
        yield (
            f"policy.trainer.token_budget = {one}",
            lambda c: c.trainer(token_budget=one),
        )
    if not trainer.gradient_checkpointing:
        yield (
            "policy.trainer.gradient_checkpointing = true",
            lambda c: c.trainer(gradient_checkpointing=True),
        )
    adapted = model.lora is not None or model.adapter is not None
    if adapted and model.dtype == "float32":
        yield 'policy.model.dtype = "bfloat16"', lambda c: c.shaped(dtype="bfloat16")
    if not adapted:
        if trainer.optimizer != "adafactor":
            yield 'policy.trainer.optimizer = "adafactor"', lambda c: c.trainer(optimizer="adafactor")
        yield (
            'policy.model.lora = { rank = 16 } with policy.model.dtype = "bfloat16"',
            lambda c: c.shaped(lora=LoraSettings(), dtype="bfloat16"),
        )
    if not model.four_bit:
        yield (
            "policy.model.four_bit = true"
            + (
                ""
                if adapted
                else ' with policy.model.lora = { rank = 16 } and policy.model.dtype = "bfloat16"'
            ),
            lambda c: c.shaped(four_bit=True, dtype="bfloat16", lora=c.model.lora or LoraSettings()),
        )
