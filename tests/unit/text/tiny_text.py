"""A random Qwen2 of 20 thousand weights, a character tokenizer, and groups for them to train on."""

from __future__ import annotations

import random

from tiny_decoder import tiny_decoder
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup

SPECIAL = ["<|pad|>", "<|end|>", "<|unk|>", "<|user|>", "<|assistant|>"]
CHARS = list("0123456789+-=<>|abcdefghijklmnopqrstuvwxyz ")
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(SPECIAL + CHARS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        padding_side="left",
        chat_template=TEMPLATE,
    )


def tiny_model(seed: int = 0) -> Qwen2ForCausalLM:
    return tiny_decoder(
        Qwen2ForCausalLM,
        Qwen2Config,
        tiny_tokenizer(),
        seed,
        intermediate_size=64,
        tie_word_embeddings=True,
        initializer_range=0.3,  # far from uniform, so that a wrong log-prob shows
    )


def problem(prompt: str) -> Problem:
    return Problem(task="echo@1", seed=0, prompt=prompt, answer="")


def random_group(rng: random.Random, prompt: str, known: list[bool], origin: str | None = None) -> TrainGroup:
    """One rollout for each of `known`: with plausible behaviour log-probs where it is True, else without."""
    tokenizer = tiny_tokenizer()
    rollouts, advantages = [], []
    for has_logprobs in known:
        text = "".join(rng.choices(CHARS[:26], k=rng.randint(1, 12)))
        ids = (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)
        logprobs = tuple(rng.gauss(-3.5, 1.0) for _ in ids) if has_logprobs else None
        rollouts.append(Rollout(text, (Segment(0, ids, logprobs),), Finish.STOP, rng.random()))
        advantages.append(rng.gauss(0.0, 1.0))
    return TrainGroup(Group(problem(prompt), tuple(rollouts), origin), tuple(advantages))


def mixed_batch(seed: int = 0) -> list[TrainGroup]:
    """Groups of 5, 7 and 5 rollouts: the last is a peer's, and the first has two of unknown log-probs."""
    rng = random.Random(seed)
    return [
        random_group(rng, "1+2=", [True, False, True, False, True]),
        random_group(rng, "sort 528314", [True] * 7),
        random_group(rng, "max 9 1", [False] * 5, origin="peer"),
    ]
