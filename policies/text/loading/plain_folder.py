"""A model folder that this program wrote itself, in the cache: read without what a stranger's folder needs.

The general loader first builds its rules for renaming the weights of every architecture, a third of a CPU second; what
the library itself has just saved has its own names.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_model
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from policies.text.engine.blank_model import blank_model
from policies.text.loading.model_folder import WEIGHTS


def read_plain(folder: Path) -> PreTrainedModel:
    """The model in inference mode, in the type that its config.json names.

    Raises what the libraries raise for a folder that is not whole: OSError, ValueError, RuntimeError, SafetensorError.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model = blank_model(config, config.dtype, torch.device("cpu"))
    load_model(model, folder / WEIGHTS)
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()
