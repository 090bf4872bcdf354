"""A model made from its configuration, whose weights are set afterwards: none are drawn, a second's work for 135M."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from policies.randomness import seeded


def blank_model(config: PreTrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The architecture of `config` on `device`, tied weights tied, each parameter still without a value.

    The host holds none of it where the device is another one. The type is given here and not by `.to(dtype)`
    afterwards, which would round the frequencies of rotary positions too.
    """
    # An architecture may draw in its constructor all the same, and the caller's generators are not ours.
    with seeded(0, device), no_init_weights(), device:
        blank: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    blank.tie_weights()
    return blank
