"""Control tokens, which no text of a peer may become, as distinct from tags that are part of a text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# Tags round a model's reasoning or answer. Some tokenizers call them special, though they belong to what it writes.
CONTENT_TAG = re.compile(r"think|thought|reason|scratch|reflect|answer|solution", re.IGNORECASE)

ADDED = '"added_tokens":'


def control_ids(
    tokenizer: PreTrainedTokenizerBase, structural: Collection[int], ends: Collection[int]
) -> frozenset[int]:
    """Special tokens, `structural` ones and `ends`, whatever the tokenizer calls them; without content tags.

    Nor blanks that end nothing: Gemma's tokenizer has line breaks among its added tokens, and every template has some.
    """
    added = tokenizer.added_tokens_decoder
    special = {index for index, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    named = {tokenizer.convert_tokens_to_ids(str(token)) for token in _named_tokens(tokenizer)}
    tags = {index for index, token in added.items() if CONTENT_TAG.search(token.content)}
    blanks = {index for index in structural if added[index].content.isspace()}
    return frozenset((special | (set(structural) - blanks) | set(ends)) - (tags - named))


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the tokenizer's backend that neither cuts nor pads.

    transformers switches the shared one's handling of control tokens call by call.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def literal_tokenizer(plain: Tokenizer, serialised: str, controls: Collection[int]) -> Tokenizer:
    """`plain`, or a copy of it, that reads the spelling of every control token as ordinary characters.

    `serialised`: `plain` as JSON. Only its list of added tokens is read, which lies before the vocabulary.
    """
    start = serialised.index(ADDED) + len(ADDED)
    added, end = json.JSONDecoder().raw_decode(serialised, start)
    if all(token["special"] == (token["id"] in controls) for token in added):
        return plain
    for token in added:
        token["special"] = token["id"] in controls
    literal = Tokenizer.from_str(serialised[:start] + json.dumps(added) + serialised[end:])
    literal.encode_special_tokens = True
    return literal


def _named_tokens(tokenizer: PreTrainedTokenizerBase) -> list[object]:
    """Beginning, end, padding and the like; without the list of further special tokens."""
    names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    tokens = (getattr(tokenizer, name, None) for name in names)
    return [token for token in tokens if token is not None]
