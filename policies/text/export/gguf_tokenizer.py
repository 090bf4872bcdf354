"""The tokenizer of a GGUF file: byte-level BPE as GPT-2's, or Gemma's, over characters with bytes to fall back on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gguf
from transformers import PreTrainedTokenizerFast

from policies.plain_files import parse_json
from policies.policy import PolicyError

Json = Mapping[str, Any]
# The expression by which most texts are split before they are merged, but for what it makes of digits.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# llama.cpp's names of the ways to split a text, by the expression.
SPLITS = {_WORDS + r"\p{N}" + _OTHERS: "qwen2", _WORDS + r"\p{N}{1,3}" + _OTHERS: "llama-bpe"}
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
UNLIKE = (
    "cannot be written as a GGUF file, which knows byte-level BPE and Gemma's BPE with bytes to fall back on"
)


def add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, size: int, ends: list[int]
) -> None:
    """`size`: rows of the embedding; `ends`: the tokens that end an answer. Raises PolicyError for other kinds."""
    whole = parse_json(tokenizer.backend_tokenizer.to_str())
    if whole["model"]["type"] != "BPE" or not whole["model"]["merges"]:
        raise PolicyError(f"a tokenizer that merges no pairs {UNLIKE}: leave out --gguf")
    tokens, types = _tokens(whole, size)
    if whole["model"].get("byte_fallback"):
        _add_characters(writer, whole, tokens)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_split_of(whole))
        writer.add_token_list(tokens)
        writer.add_token_merges([" ".join(pair) for pair in whole["model"]["merges"]])
    writer.add_token_types(types)
    _add_special(writer, tokenizer, ends)


def _tokens(whole: Json, size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Texts and kinds of all rows of the embedding; rows without a token are unused ones."""
    named = dict(whole["model"]["vocab"])
    added = {token["content"]: token for token in whole["added_tokens"]}
    named |= {content: token["id"] for content, token in added.items()}
    if max(named.values()) >= size:
        raise PolicyError("the tokenizer has more tokens than the model has rows in its embedding")
    tokens = [f"[PAD{row}]" for row in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    unknown = whole["model"].get("unk_token") if whole["model"].get("byte_fallback") else None
    for token, row in named.items():
        tokens[row] = token
        types[row] = _kind(token, added.get(token), unknown, fallback=bool(unknown))
    return tokens, types


def _kind(token: str, added: Json | None, unknown: str | None, *, fallback: bool) -> gguf.TokenType:
    if token == unknown:
        return gguf.TokenType.UNKNOWN
    if added is not None:
        return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    is_byte = fallback and len(token) == 6 and token.startswith("<0x")
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def _split_of(whole: Json) -> str:
    """llama.cpp's name for the way in which the tokenizer splits a text."""
    steps = whole["pre_tokenizer"] or {}
    parts = steps.get("pretokenizers", [steps])
    kinds = [part.get("type") for part in parts]
    if whole["normalizer"] is None or whole["normalizer"] == {"type": "NFC"}:
        if kinds == ["ByteLevel"] and parts[0]["use_regex"] and not parts[0]["add_prefix_space"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"]:
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and (name := SPLITS.get(parts[0]["pattern"].get("Regex", ""))):
            return name
    raise PolicyError(f"a tokenizer that splits texts by {kinds} {UNLIKE}: leave out --gguf")


def _add_characters(writer: gguf.GGUFWriter, whole: Json, tokens: list[str]) -> None:
    """Scores fall with the token's place, which is the order in which Gemma's vocabulary was merged."""
    rewriting = whole["normalizer"] or {}
    if rewriting.get("normalizers", [rewriting]) != [BLANKS]:
        raise PolicyError(f"a tokenizer that rewrites texts before it splits them {UNLIKE}: leave out --gguf")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(row) for row in range(len(tokens))])
    writer.add_add_space_prefix(False)


def _add_special(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, ends: list[int]) -> None:
    if (begin := tokenizer.bos_token_id) is not None:
        writer.add_bos_token_id(begin)
    if (end := tokenizer.eos_token_id) is not None:
        writer.add_eos_token_id(end)
    if (unknown := tokenizer.unk_token_id) is not None:
        writer.add_unk_token_id(unknown)
    if (padding := tokenizer.pad_token_id) is not None:
        writer.add_pad_token_id(padding)
    if turn := [token for token in ends if token != end]:
        writer.add_eot_token_id(turn[0])
    plain = tokenizer("a", add_special_tokens=True)["input_ids"]
    writer.add_add_bos_token(begin is not None and plain[0] == begin)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
