"""Weights of a policy, whole or as an adapter: written, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from policies.load_report import whole_weights
from policies.policy import PolicyError
from policies.text.loading.library_errors import as_policy_error

AnyModel: TypeAlias = PreTrainedModel | PeftModel  # with or without an adapter round it

ADAPTER_FILE = "adapter_model.safetensors"


def plain_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model; an adapter's layers stay in it."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(plain, PreTrainedModel):
        raise PolicyError(
            f"a text policy needs a transformers causal language model, not {type(plain).__name__}"
        )
    return plain


def parameters_of(model: PreTrainedModel) -> int:
    """Parameters without those of an adapter: peers compare models, not how they are trained."""
    return sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name)


def save_weights(model: AnyModel, folder: Path) -> None:
    """Writes the adapter where there is one, else all weights, as Hugging Face tools read them.

    Raises PolicyError where the disk is full or the folder cannot be written.
    """
    with as_policy_error(f"cannot write {folder}"):
        if isinstance(model, PeftModel):
            # False and not "auto": with "auto" peft looks the base model up on the hub at every save.
            model.save_pretrained(folder, save_embedding_layers=False)
        else:
            model.save_pretrained(folder)


def load_weights(model: AnyModel, folder: Path) -> None:
    """Puts what `save_weights` wrote into `model`, in place. Raises PolicyError when it does not fit."""
    with as_policy_error(
        f"{folder} holds no weights for this policy", "resume with the configuration that wrote it"
    ):
        if isinstance(model, PeftModel):
            load_adapter(model, folder)
        elif (folder / ADAPTER_FILE).exists():
            # transformers would go looking for the model that the adapter belongs to.
            raise ValueError("it is an adapter's, and this policy trains all weights")
        else:
            with whole_weights(str(folder)):
                saved = type(model).from_pretrained(folder, dtype=model.dtype, use_safetensors=True)
            model.load_state_dict(saved.state_dict())


def load_adapter(model: PeftModel, folder: Path) -> None:
    """Puts an adapter's weights into `model`'s own. Raises ValueError or RuntimeError where the layers differ."""
    result = set_peft_model_state_dict(model, load_file(folder / ADAPTER_FILE))
    differing = [*result.unexpected_keys, *(key for key in result.missing_keys if "lora_" in key)]
    if differing:
        raise ValueError(f"the saved adapter has other layers: {differing[0]}")


def check_adapter(folder: Path) -> None:
    """Raises PolicyError where `folder` holds no adapter in safetensors."""
    if not (folder / ADAPTER_FILE).is_file():
        raise PolicyError(
            f"model.adapter: {folder} holds no {ADAPTER_FILE}; give the folder that an adapter was saved to"
        )
