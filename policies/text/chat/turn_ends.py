"""Tokens that end an assistant's turn, by the chat template, the generation config and the tokenizer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from policies.policy import PolicyError
from policies.text.chat.template import MARKER, ChatTemplate


@dataclass(frozen=True, slots=True)
class TurnEnds:
    """The tokens that end a completion."""

    taught: int  # the one that the model's own template writes: it ends a peer's finished text
    stops: frozenset[int]  # all that end a completion in sampling; `taught` is one of them
    notes: tuple[str, ...] = ()  # what a user should know where the sources disagree


def turn_ends(
    tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, generation_eos: Sequence[int]
) -> TurnEnds:
    """The ends of one model; `generation_eos` are those of its generation config.

    Raises PolicyError where none of the sources names one.
    """
    own = tokenizer.eos_token_id
    named = frozenset(generation_eos) | (frozenset() if own is None else {own})
    written = _end_of_turn(tokenizer, template, named)
    if written is None and not named:
        raise PolicyError(
            "the tokenizer names no end-of-sequence token, and neither do chat template and generation config; "
            "set eos_token in tokenizer_config.json"
        )
    if written is not None:
        taught = written
    elif own is None or (generation_eos and own not in generation_eos):
        taught = generation_eos[0]
    else:
        taught = own
    stops = named | {taught}
    if own == taught and set(generation_eos) <= {taught}:
        return TurnEnds(taught, stops)
    return TurnEnds(taught, stops, (_differing(tokenizer, written, generation_eos, taught),))


def generation_ends(model: PreTrainedModel) -> list[int]:
    """Every token that the model's generation config ends a completion with."""
    return named_ends(getattr(model, "generation_config", None))


def named_ends(config: GenerationConfig | None) -> list[int]:
    """The ends of a generation config, none or one or several of them. Raises PolicyError for what is no token."""
    named = getattr(config, "eos_token_id", None)
    ends = [] if named is None else list(named) if isinstance(named, list | tuple) else [named]
    if odd := [end for end in ends if type(end) is not int or end < 0]:
        raise PolicyError(
            f"eos_token_id in generation_config.json is {odd[0]!r}, which is no token: copy or download the file again"
        )
    return ends


def complete_tokenizer(tokenizer: PreTrainedTokenizerBase, end: int, rows: int) -> None:
    """Gives a tokenizer that lacks them an end, and a padding token that the model has an embedding of."""
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)


def structural_ids(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> frozenset[int]:
    """Added tokens that the template writes round turns of any role."""
    added = tokenizer.added_tokens_decoder
    dialogue = [*template.turns("1"), ("assistant", "1"), ("user", "1")]
    found = frozenset(template.prompt_ids("1"))
    for rendered in (template.rendered(dialogue), template.rendered(dialogue[:-1])):
        if rendered is not None:
            found |= frozenset(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    return frozenset(added.keys() & found)


def _end_of_turn(
    tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, named: Collection[int]
) -> int | None:
    """The first control token behind an assistant's turn, or None where the template writes none.

    A token that nobody else names as an end counts only if it also stands between that turn and the next: some
    templates begin a new turn of the assistant whether they are asked to or not.
    """
    user = template.turns("1")
    last = template.rendered([*user, ("assistant", MARKER)])
    found = None if last is None else _first_control(tokenizer, last.rpartition(MARKER)[2])
    if found is None or found in named:
        return found
    within = template.rendered([*user, ("assistant", MARKER), ("user", "1")])
    if within is None or _first_control(tokenizer, within.rpartition(MARKER)[2]) != found:
        return None
    return found


def _first_control(tokenizer: PreTrainedTokenizerBase, tail: str) -> int | None:
    controls = tokenizer.added_tokens_decoder.keys() | set(tokenizer.all_special_ids)
    if tokenizer.unk_token_id != tokenizer.eos_token_id:  # it stands for letters that have no token
        controls -= {tokenizer.unk_token_id}
    ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    return next((index for index in ids if index in controls), None)


def _differing(
    tokenizer: PreTrainedTokenizerBase, written: int | None, generation_eos: Sequence[int], taught: int
) -> str:
    def spelt(ids: Sequence[int]) -> str:
        names = (tokenizer.convert_ids_to_tokens(index) for index in dict.fromkeys(ids))
        return ", ".join(f"{name!r}" for name in names)

    own = tokenizer.eos_token_id
    parts = [
        "no control token by the chat template"
        if written is None
        else f"{spelt([written])} by the chat template",
        f"{spelt(generation_eos)} by the generation config" if generation_eos else "",
        "none by the tokenizer" if own is None else f"{spelt([own])} by the tokenizer",
    ]
    return (
        f"turns end with {'; '.join(filter(None, parts))}. Any of them ends a rollout, and {spelt([taught])} is "
        "what peers' texts are ended with"
    )
