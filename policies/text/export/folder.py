"""A policy's saved weights as an ordinary Hugging Face folder: a whole model, or an adapter that names its base."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2ForCausalLM,
)

from policies.load_report import whole_weights
from policies.plain_files import read_json
from policies.policy import PolicyError
from policies.text.chat.plain_template import stop_texts
from policies.text.chat.settings import PromptSettings
from policies.text.loading.library_errors import as_policy_error, damaged
from policies.text.loading.model_folder import ADAPTER, CONFIG, TOKENIZERS, WEIGHTS, check_folder
from policies.text.loading.weights import ADAPTER_FILE, load_adapter
from policies.text.model import attach_lora, load
from policies.text.settings import ModelSettings

CARD = "README.md"


def is_adapter(weights: Path) -> bool:
    """Whether a save holds an adapter, and not a whole model."""
    return (weights / ADAPTER_FILE).is_file() or (weights / ADAPTER).is_file()


def copy_model(weights: Path, folder: Path) -> None:
    """Copies a save of all weights into `folder`. Raises PolicyError for one that is not whole."""
    check_folder(weights)
    _copy(weights, folder, leave=(ADAPTER, ADAPTER_FILE))


def write_embedded(weights: Path, folder: Path) -> None:
    """Writes a save of the embedded policy as a Llama, which computes the same.

    The policy is a Qwen2, and of a Qwen2 transformers reads every tokenizer as if it were Qwen2's own: a character
    tokenizer would lose its blanks. Raises PolicyError for a save that is not whole.
    """
    check_folder(weights)
    advice = "take another checkpoint with --round"
    with as_policy_error(f"cannot read {weights}", advice), whole_weights(str(weights)):
        saved = Qwen2ForCausalLM.from_pretrained(weights, use_safetensors=True)
    given = saved.config.to_dict()
    names = LlamaConfig().to_dict().keys() & given.keys() - {
        "model_type",
        "architectures",
        "transformers_version",
    }
    # A Llama with biases has one more than a Qwen2, on the attention's output: it stays zero.
    config = LlamaConfig(**{name: given[name] for name in names} | {"attention_bias": True})
    model = LlamaForCausalLM(config)
    lacking = {
        name: torch.zeros_like(value) for name, value in model.state_dict().items() if "o_proj.bias" in name
    }
    model.load_state_dict(saved.state_dict() | lacking)
    with as_policy_error(f"cannot write {folder}"):
        model.save_pretrained(folder)
    _copy(weights, folder, leave=(ADAPTER, ADAPTER_FILE, CONFIG, WEIGHTS))


def copy_adapter(weights: Path, base: str, folder: Path) -> None:
    """Copies a saved adapter into `folder`, with `base` as the model that it belongs to.

    Raises PolicyError for a save that is not whole.
    """
    _check_adapter(weights)
    _copy(weights, folder)
    file = folder / ADAPTER
    file.write_text(
        json.dumps(_config_of(weights) | {"base_model_name_or_path": base}, indent=2) + "\n", encoding="utf-8"
    )


def write_merged(weights: Path, settings: ModelSettings, folder: Path, seed: int) -> None:
    """Writes the model of `settings` with the saved adapter added to its weights.

    Added in float32, and rounded once to `settings.dtype`. Raises PolicyError where the adapter is not whole, and as
    `load` does where the model is no longer to be had.
    """
    _check_adapter(weights)
    model = load(settings.model_copy(update={"dtype": "float32", "lora": None}), torch.device("cpu"), seed)[0]
    if settings.lora is not None and isinstance(model, PreTrainedModel):
        model = attach_lora(model, settings.lora, seed)
    if not isinstance(model, PeftModel):
        raise PolicyError(
            f"{weights} holds an adapter, and the run's config asks for none: it was changed since"
        )
    with as_policy_error(
        f"{weights} does not fit the model", "restore the config.json that the run was started with"
    ):
        load_adapter(model, weights)
    with warnings.catch_warnings(), as_policy_error("the adapter cannot be merged", "leave out --merge"):
        warnings.simplefilter("ignore", FutureWarning)
        merged = model.merge_and_unload(safe_merge=True)
    dtype = getattr(torch, settings.dtype)
    for parameter in merged.parameters():  # not `.to`, which would round rotary positions' frequencies too
        parameter.data = parameter.data.to(dtype)
    merged.config.dtype = dtype
    with as_policy_error(f"cannot write {folder}"):
        merged.generation_config = GenerationConfig.from_pretrained(weights)
        merged.save_pretrained(folder)
    _copy(weights, folder, leave=(ADAPTER, ADAPTER_FILE))


def _copy(weights: Path, folder: Path, leave: tuple[str, ...] = ()) -> None:
    """All files of a save but the card that peft writes, and those of `leave`."""
    for file in sorted(weights.iterdir()):
        if file.is_file() and file.name not in (CARD, *leave):
            shutil.copyfile(file, folder / file.name)


def reads_alike(folder: Path, text: str) -> bool:
    """Whether transformers reads the folder's tokenizer as it is written there.

    Of some families it rebuilds every tokenizer by the family's own rules.
    """
    written, read = Tokenizer.from_file(str(folder / "tokenizer.json")), _tokenizer(folder)
    return (
        list(read(text, add_special_tokens=False)["input_ids"])
        == written.encode(text, add_special_tokens=False).ids
    )


def stops_of(folder: Path, settings: PromptSettings) -> tuple[str, ...]:
    """Texts at which the policy of an exported folder ends an answer: no generation config can hold them."""
    return stop_texts(_tokenizer(folder), settings)


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    with as_policy_error(f"cannot read the tokenizer in {folder}"):
        read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return read


def _check_adapter(weights: Path) -> None:
    if not (weights / ADAPTER_FILE).is_file():
        raise PolicyError(f"{weights} holds no {ADAPTER_FILE}: take another checkpoint with --round")
    _config_of(weights)
    try:
        with safe_open(weights / ADAPTER_FILE, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise damaged(weights / ADAPTER_FILE, error) from error
    if not any(any(weights.glob(name)) for name in TOKENIZERS):
        raise PolicyError(f"{weights} holds no tokenizer")


def _config_of(weights: Path) -> dict[str, object]:
    try:
        config = read_json(weights / ADAPTER)
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise damaged(weights / ADAPTER, error) from error
    return config
