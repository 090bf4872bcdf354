"""GGUF files as plain models: each is converted once, and read from the user's cache from then on."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)

from policies.load_report import whole_weights
from policies.local_cache import default_cache
from policies.text.engine.blank_model import blank_model
from policies.text.loading.conversion_cache import ConversionCache, digest_of
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.model_path import require_gguf_reader
from policies.text.loading.plain_folder import read_plain
from policies.text.loading.sizes import check_sizes

logger = logging.getLogger(__name__)

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]

# It draws a bar through a node's own lines, which `disable_progress_bar` does not reach.
modeling_gguf_pytorch_utils.tqdm = partial(modeling_gguf_pytorch_utils.tqdm, disable=True)

CONVERSION = 2  # raised when `_converted` or the sums change: kept conversions then stay unused
WHOLE = "1000GB"  # one file, however large the model
PROBE = "What is 12 + 7?\n  Straße 東京 → ■"  # told apart by tokenizers that differ


def load_gguf(file: Path, dtype: torch.dtype, cache: Path | None = None) -> Loaded:
    """The dequantized model in inference mode, and its tokenizer. `cache`: where conversions are kept.

    The first start takes some 20 CPU seconds for 135M weights, later ones one or two. Safe to call from several
    processes at once. Raises PolicyError, with the fix, for a file that cannot be read.
    """
    require_gguf_reader()
    with as_policy_error(
        f"cannot load {file}",
        "the file is cut or damaged, or of an architecture that transformers cannot read from GGUF: copy or "
        "download it again, or take the model's safetensors",
    ):
        kept = ConversionCache(default_cache() if cache is None else cache)
        key = digest_of(file, str(CONVERSION), transformers.__version__, str(dtype))
        if (found := kept.read(key, _read)) is not None:
            return found
        # Only here, as it parses the whole file: what is kept of the same bytes was let through before.
        check_sizes(str(file.parent), gguf_file=file.name)
        converted = _converted(file, dtype)
        kept.keep(key, partial(_write, converted), partial(_is_same, converted))
        # As later starts meet it, down to its configuration's words, so that what this one proves holds for them.
        return kept.read(key, _read) or converted


def _converted(file: Path, dtype: torch.dtype) -> Loaded:
    """The model is rebuilt plain: one marked as quantized refuses to be saved."""
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, padding_side="left")
    with whole_weights(str(file)):
        quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
    config = quantized.config
    del config.quantization_config
    model = blank_model(config, dtype, torch.device("cpu"))
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    return model.eval(), tokenizer


def _read(folder: Path) -> Loaded:
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    return read_plain(folder), tokenizer


def _write(converted: Loaded, folder: Path) -> None:
    model, tokenizer = converted
    model.save_pretrained(folder, max_shard_size=WHOLE)
    tokenizer.save_pretrained(folder)


def _is_same(converted: Loaded, folder: Path) -> bool:
    """Whether what was written is read back as it was, weight by weight and token by token."""
    (model, tokenizer), (again, retold) = converted, _read(folder)
    pairs = [
        (dict(model.state_dict()), dict(again.state_dict())),
        (dict(model.named_buffers()), dict(again.named_buffers())),
    ]
    weights = all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        for ours, theirs in pairs
    )
    return weights and _tokenizing(tokenizer) == _tokenizing(retold)


def _tokenizing(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
    return (
        tokenizer.get_vocab(),
        tokenizer.special_tokens_map,
        tokenizer.chat_template,
        tokenizer.padding_side,
        tokenizer(PROBE)["input_ids"],
        {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()},
    )
