"""Tiny random models of many families, each with a tokenizer of its family's kind, made here and saved nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import transformers
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from policies.rollout import Finish
from policies.text.chat.settings import PromptSettings
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, TextSettings

CORPUS = [
    "The sum of 12 and 7 is 19, and 3 times 4 makes 12.",
    "Sort the letters: a b c d e f. Answer with a number only, please!",
    "Größe, Straße, naïve café; Привет, мир; 数字の合計は十二です。 ■□▲→← 😀🎉🚀",
] * 4

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role'])"
    " + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def byte_level(special: list[str], **named: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's: every text has an encoding, and a token may hold a part of a character."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **named)


def byte_fallback(
    special: list[str], *, append_end: bool = False, prefix: bool = True, **named: Any
) -> PreTrainedTokenizerFast:
    """BPE over characters that falls back to bytes, as Llama's and Gemma's."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(
        CORPUS[:2], trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    )
    vocabulary = {token: index for index, token in enumerate(special + bytes_)}
    for token in sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    steps = [normalizers.Prepend("▁")] if prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    end = [("</s>", vocabulary["</s>"])] if append_end else []
    begin = next(token for token in ("<s>", "<bos>") if token in vocabulary)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A" + (" </s>" if append_end else ""),
        special_tokens=[(begin, vocabulary[begin]), *end],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **named)


def gpt2_kind() -> PreTrainedTokenizerFast:
    """One token for beginning, end and unknown; no padding, no template."""
    end = "<|endoftext|>"
    return byte_level([end], bos_token=end, eos_token=end, unk_token=end)


def chatml_kind(eos: str = "<|im_end|>", **named: Any) -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    return byte_level(
        special, eos_token=eos, additional_special_tokens=special[1:], chat_template=CHATML, **named
    )


def llama_kind(*, append_end: bool = False, template: str | None = None) -> PreTrainedTokenizerFast:
    special = ["<unk>", "<s>", "</s>"]
    return byte_fallback(
        special,
        append_end=append_end,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )


def gemma_kind() -> PreTrainedTokenizerFast:
    """Turns end with a token that is not the tokenizer's end, and a system message is refused."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    return byte_fallback(
        special,
        prefix=False,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=special[4:],
        chat_template=GEMMA,
    )


def phi_kind() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    return byte_level(
        special,
        eos_token=special[0],
        pad_token=special[0],
        additional_special_tokens=special[1:],
        chat_template=PHI,
    )


@dataclass(frozen=True)
class Family:
    """One architecture with a tokenizer; `end`: the token that its turns end with."""

    architecture: str
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    end: str
    system: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


ROPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
HEAD = dict(ROPE, head_dim=8)
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
FAMILIES: dict[str, Family] = {
    "llama": Family("Llama", lambda: llama_kind(append_end=True), "</s>", "Be brief.", ROPE),
    "mistral": Family("Mistral", lambda: llama_kind(template=MISTRAL), "</s>", "Be brief.", ROPE),
    "qwen2": Family("Qwen2", chatml_kind, "<|im_end|>", None, dict(ROPE, tie_word_embeddings=True)),
    "qwen3": Family(
        "Qwen3",
        lambda: chatml_kind("<|endoftext|>", pad_token="<|endoftext|>"),
        "<|im_end|>",
        "Be brief.",
        HEAD,
    ),
    "gemma2": Family("Gemma2", gemma_kind, "<end_of_turn>", "Be brief.", HEAD),
    "gemma3": Family("Gemma3", gemma_kind, "<end_of_turn>", None, dict(HEAD, sliding_window=64)),
    "phi3": Family("Phi3", phi_kind, "<|end|>", "Be brief.", ROPE),
    "olmo2": Family("Olmo2", phi_kind, "<|end|>", None, ROPE),
    "granite": Family("Granite", chatml_kind, "<|im_end|>", None, ROPE),
    "starcoder2": Family("Starcoder2", gpt2_kind, "<|endoftext|>", None, ROPE),
    "gpt2": Family("GPT2", gpt2_kind, "<|endoftext|>", None, GPT),
    "gpt_neox": Family("GPTNeoX", gpt2_kind, "<|endoftext|>", "Be brief.", ROPE),
    "falcon": Family("Falcon", gpt2_kind, "<|endoftext|>", None, dict(ROPE, alibi=True)),
    "opt": Family(
        "OPT",
        lambda: llama_kind(append_end=True),
        "</s>",
        None,
        {
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
    ),
    "bloom": Family("Bloom", chatml_kind, "<|im_end|>", None, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
}


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    return FAMILIES[name].tokenizer()


def model_of(name: str, **changes: Any) -> PreTrainedModel:
    """A random model, its generation config as a publisher's: the ends of turns among its ends."""
    family, tokenizer = FAMILIES[name], tokenizer_of(name)
    suffix = "Text" if family.architecture == "Gemma3" else ""
    config_class = getattr(transformers, f"{family.architecture}{suffix}Config")
    ends = dict.fromkeys([tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(family.end)])
    config = config_class(
        **{
            **{"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "pad_token_id": None},
            **{"eos_token_id": tokenizer.eos_token_id, "initializer_range": 0.2},
            **family.config,
            **changes,
        }
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(len(name))
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=list(ends))
    return model.eval()


ANSWERS = [
    *("12", "The sum of 12 and 7 is 19.", "a b c d e f", "3 times 4 makes 12, and 1 more is 13."),
    *("Größe, Straße, naïve café", "Привет, мир;", "数字の合計は十二です。", "■□▲→← 😀🎉🚀 12 😀 19"),
]


def taught_policy(name: str, cap: int = 24) -> TextPolicy:
    """A policy that writes like `ANSWERS` and ends its turns, after a hundred steps of likelihood on them."""
    policy = policy_of(name, cap)
    model, encoding = policy._model, policy._encoding
    rows = [(encoding.prompt("1+1="), encoding.completion(text, Finish.STOP)) for text in ANSWERS]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for step in range(100):
        prompt, completion = rows[step % len(rows)]
        ids = torch.tensor([[*prompt, *completion]])
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :]).backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    policy._engine.refresh()
    return policy


def policy_of(name: str, cap: int = 24, **generation: Any) -> TextPolicy:
    prompt = PromptSettings(system=FAMILIES[name].system)
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=cap, **generation), prompt=prompt)
    # A tokenizer of its own: a policy may give it the padding token that it lacks.
    return TextPolicy(model_of(name), FAMILIES[name].tokenizer(), settings)
