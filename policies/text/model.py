"""The model that a text policy starts from, and its tokenizer: loaded from disk, hub or package.

Nothing that is loaded can run code: safetensors and GGUF only, no repository code.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from policies.error_words import brief
from policies.load_report import whole_weights
from policies.policy import PolicyError
from policies.randomness import seeded
from policies.text.loading.gguf import load_gguf
from policies.text.loading.hub_faults import hub_fault
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.model_folder import check_folder
from policies.text.loading.model_path import check_there, is_gguf, resolve
from policies.text.loading.quantised import four_bit_config, keep_gradients
from policies.text.loading.sizes import check_sizes
from policies.text.loading.weights import AnyModel, check_adapter, load_adapter
from policies.text.lora import lora_config
from policies.text.settings import LoraSettings, ModelSettings

logger = logging.getLogger(__name__)

# A node shows its own progress; bars for every load and save would cut through it.
disable_progress_bar()


def load(
    settings: ModelSettings, device: torch.device, seed: int = 0
) -> tuple[AnyModel, PreTrainedTokenizerBase]:
    """The model on `device`, with a fresh adapter drawn from `seed` if one is asked for; its tokenizer.

    Raises PolicyError, with the fix, for anything that is missing, unreachable or refused.
    """
    check_there(settings.path)
    path = resolve(settings.path)
    dtype = getattr(torch, settings.dtype)
    if is_gguf(path):
        if settings.four_bit:
            raise PolicyError(f"model.four_bit takes safetensors weights, and {settings.path} is a GGUF file")
        model, tokenizer = load_gguf(Path(path), dtype)
    else:
        model, tokenizer = _load_safetensors(path, settings, device)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with as_policy_error(f"cannot put {settings.path} on {device}"):
        if settings.four_bit:  # bitsandbytes puts its layers where they belong while it loads
            keep_gradients(model)
        else:
            model.to(device)
    logger.info("loaded %s: %s, %d parameters", settings.path, type(model).__name__, model.num_parameters())
    if settings.adapter is not None:
        return _with_adapter(model, Path(settings.adapter)), tokenizer
    return (model if settings.lora is None else attach_lora(model, settings.lora, seed)), tokenizer


def attach_lora(model: PreTrainedModel, settings: LoraSettings, seed: int) -> AnyModel:
    """Wraps `model` in an adapter that changes nothing yet; only the adapter will train."""
    config = lora_config(settings)
    with (
        seeded(seed, model.device),
        warnings.catch_warnings(),
        as_policy_error("no adapter for this model", "name its layers in lora.target_modules"),
    ):
        _silence_peft()
        return get_peft_model(model, config)


def _with_adapter(model: PreTrainedModel, folder: Path) -> AnyModel:
    """The model in an adapter that was trained before, and that trains on."""
    check_adapter(folder)
    advice = "it belongs to another model, or is damaged: set model.path to the model that it was trained on"
    with warnings.catch_warnings(), as_policy_error(f"cannot load the adapter {folder}", advice):
        _silence_peft()
        warnings.filterwarnings("error", "Found missing adapter keys")  # else they begin anew
        wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=True)
        load_adapter(wrapped, folder)  # refuses layers that this model lacks, which the library leaves out
        return wrapped


def _load_safetensors(
    path: str, settings: ModelSettings, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    local = Path(path).is_dir()
    if local:
        check_folder(Path(path))
    revision = settings.revision or "main"  # the library's own word for none
    with _loading(path, "its config.json does not describe a model that transformers can build"):
        check_sizes(path, revision=revision)
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise PolicyError(
            f"cannot load {path}: a {config.model_type} model is no causal language model, which a text policy needs"
        )
    with _loading(path, "its tokenizer cannot be read; take tokenizer files of the model it was made from"):
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=revision, padding_side="left", trust_remote_code=False
        )
    dtype = getattr(torch, settings.dtype)
    packed = four_bit_config(dtype, device) if settings.four_bit else {}
    with _loading(path, _about_weights(config)), whole_weights(path):
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            **packed,
        )
    _check_loaded(path, model, quantised=settings.four_bit)
    return model, tokenizer


def _check_loaded(path: str, model: PreTrainedModel, *, quantised: bool) -> None:
    """transformers puts an adapter on its base by itself, and takes weights that nothing can train."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise PolicyError(
            f"cannot load {path}: it is an adapter, not a model. Set model.path to its base and model.adapter to a "
            "folder with the adapter"
        )
    if getattr(model, "is_quantized", False) and not quantised:
        raise PolicyError(
            f"cannot load {path}: its weights are quantised, which cannot be trained; choose the plain ones"
        )


def _about_weights(config: Any) -> str:
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        return "its weights are quantised, which cannot be trained; choose the plain ones"
    return "its weights do not fit its config.json, or are damaged: copy or download the model again"


def _loading(path: str, advice: str) -> Any:
    """Errors of the hub by their own words, others with `advice`."""
    return as_policy_error(f"cannot load {path}", advice, lambda error: _known_fault(path, error))


def _known_fault(path: str, error: BaseException) -> str | None:
    said = brief(error)
    if "trust_remote_code" in said or "custom code" in said:
        return "it needs code from its repository, which is never run; choose a model that transformers knows"
    if "backend tokenizer" in said:
        # transformers asks for sentencepiece or tiktoken whenever it finds no tokenizer that it can read.
        return "its tokenizer is missing or damaged; take tokenizer.json and tokenizer_config.json of its publisher"
    if Path(path).exists():
        return None
    if "config.json" in said and "file named" in said and "tokenizer" not in said:
        return (
            "the repository holds no config.json: of an adapter, set model.path to its base and model.adapter to a "
            "folder with it; of a GGUF repository, download the .gguf file and give its path"
        )
    if "safetensors" in said and "no file named" in said:
        return "it has no safetensors weights, and pickled ones, which can run code, are refused"
    return hub_fault(path, error)


def _silence_peft() -> None:
    """What peft warns of while it attaches and then does right by itself: layers that store weights transposed, and
    patterns for experts that a model keeps under another name.
    """
    # peft 0.21 asks transformers 5.23 for `is_gradient_checkpointing`, its name of old.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
    warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
    warnings.filterwarnings("ignore", "target_parameters=.* were set but no parameter", RuntimeWarning)
