"""Companions of saved weights that make them a whole model: tokenizer, chat template, generation config."""

from __future__ import annotations

import copy
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from policies.text.chat.turn_ends import TurnEnds
from policies.text.loading.library_errors import as_policy_error


def save_companions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: TurnEnds, folder: Path
) -> None:
    """Writes them into `folder`, over what a library wrote there of the model's start.

    Raises PolicyError where the disk is full or the folder cannot be written.
    """
    with as_policy_error(f"cannot write {folder}"):
        tokenizer.save_pretrained(folder)
        # Not `save_pretrained`, which refuses settings that it takes to be contradictory, published ones too.
        generation_of(model, tokenizer, ends).to_json_file(folder / GENERATION_CONFIG_NAME)


def generation_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: TurnEnds
) -> GenerationConfig:
    """The model's own generation config, which ends an answer where the policy does.

    `transformers.generate` knows nothing of the chat template: what ends a turn has to stand here.
    """
    given = getattr(model, "generation_config", None)
    config = copy.deepcopy(given) if given is not None else GenerationConfig()
    stops = [ends.taught, *sorted(ends.stops - {ends.taught})]
    config.eos_token_id = stops if len(stops) > 1 else stops[0]
    config.pad_token_id = tokenizer.pad_token_id
    return config
