"""A model folder as one GGUF file, for llama.cpp and what is built on it; read back and compared before it is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from policies.load_report import whole_weights
from policies.policy import PolicyError
from policies.text.export.gguf_model import add_shape, family_of, tensors_of
from policies.text.export.gguf_tokenizer import add_tokenizer
from policies.text.loading.library_errors import as_policy_error

PROBES = (
    "What is 12 + 7?\n  Straße 東京 → ■",
    "It's 1,024 KB; don't\t\tworry:\r\n\r\n 3.14159 😀",
    "def f(x):\n    return x ** 2  # ok",
)
# Largest difference of a log-prob, in nats, by the type of the weights: sums are rounded in another order.
FLOAT32, BFLOAT16 = 1e-3, 0.1


def check_gguf(config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises PolicyError where no GGUF file can be this model; its tokenizer is written alone, and read back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.gguf"
        with _writer(file, config, tokenizer, []):
            pass
        _compare_tokens(file, tokenizer)


def write_gguf(folder: Path, file: Path, name: str) -> float:
    """Writes the model in `folder` as `file`, and gives how far its log-probs are from the folder's, in nats.

    Raises PolicyError as `check_gguf` does, and where what is read back is not what was written.
    """
    with as_policy_error(f"cannot read {folder}"), whole_weights(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True).eval()
    ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in PROBES]
    ends = model.generation_config.eos_token_id
    with _writer(file, model.config, tokenizer, ends if isinstance(ends, list) else [ends]) as writer:
        writer.add_name(name)
        for tensor, numbers, kind in tensors_of(model):
            writer.add_tensor(tensor, numbers, raw_dtype=kind)
    dtype = model.dtype
    ours = [_logprobs(model, row) for row in ids]
    del model
    _compare_tokens(file, tokenizer)
    with as_policy_error(f"cannot read {file} back"), whole_weights(str(file)):
        again = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype).eval()
    apart = max(float((one - _logprobs(again, row)).abs().max()) for one, row in zip(ours, ids, strict=True))
    if not apart <= (FLOAT32 if dtype == torch.float32 else BFLOAT16):
        raise PolicyError(f"{file.name} is read back as a model whose log-probs are {apart:.2g} nats off")
    return apart


@contextmanager
def _writer(
    file: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast, ends: list[int]
) -> Iterator[gguf.GGUFWriter]:
    """Shape and tokenizer are in it; the file is written at the end."""
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[family_of(config).arch])
    try:
        add_shape(writer, config)
        add_tokenizer(writer, tokenizer, config.vocab_size, ends)
        yield writer
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _compare_tokens(file: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with as_policy_error(f"cannot read {file.name} back"):
        again = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in PROBES:
        ours, theirs = (t(text, add_special_tokens=False)["input_ids"] for t in (tokenizer, again))
        if ours != theirs:
            raise PolicyError(
                f"the tokenizer would be read otherwise from a GGUF file ({text!r}: {len(ours)} tokens, and "
                f"{len(theirs)} there): leave out --gguf"
            )


@torch.no_grad()
def _logprobs(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
