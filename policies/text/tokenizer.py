"""The embedded policy's tokenizer: one printable ASCII character, one token. Built in code, nothing loaded."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN, USER, ASSISTANT, SYSTEM = CONTROL_TOKENS = (
    "<|pad|>",
    "<|end|>",
    "<|unk|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
)
CHARACTERS = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Equal on every machine. A character outside `CHARACTERS` becomes the unknown token."""
    vocabulary = {token: index for index, token in enumerate((*CONTROL_TOKENS, *CHARACTERS))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def dialogue(prompt: str, completion: str) -> str:
    """One exchange as the chat template writes it, ready to be encoded; rendering it takes 7 times as long."""
    return f"{USER}{prompt}{END}{ASSISTANT}{completion}{END}"
