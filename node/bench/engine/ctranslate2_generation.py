"""CTranslate2, an engine of its own for CPUs, as a rival: the extra `rivals`.

On a CPU it computes in float32, whose log-probs are the policy's, or in int8, whose are 0.21 nats off for SmolLM2.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policies.text.engine import Request

LIBRARY = "ctranslate2"


def is_installed() -> bool:
    return find_spec(LIBRARY) is not None


class CTranslate2Generation:
    """A converted copy of the model, on as many threads as torch has."""

    name = "ctranslate2"
    arithmetic = "float32"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ValueError for an architecture that its converter does not know."""
        library = import_module(LIBRARY)
        converters = import_module(f"{LIBRARY}.converters")
        self._tokenizer = tokenizer
        with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
            copy.deepcopy(model).float().save_pretrained(f"{folder}/model")
            tokenizer.save_pretrained(f"{folder}/model")
            converters.TransformersConverter(f"{folder}/model").convert(f"{folder}/converted")
            self._generator: Any = library.Generator(
                f"{folder}/converted",
                device="cpu",
                compute_type=self.arithmetic,
                intra_threads=torch.get_num_threads(),
            )

    def complete(self, requests: Sequence[Request]) -> list[int]:
        """Lengths of the completions, all as long as the longest asked for: a call has one length cap.

        A prompt that all requests have in common is computed once.
        """
        longest = max(request.max_new_tokens for request in requests)
        prompts = [self._tokenizer.convert_ids_to_tokens(list(request.prompt_ids)) for request in requests]
        shared = prompts[0][:-1] if all(prompt == prompts[0] for prompt in prompts) else []
        results = self._generator.generate_batch(
            [prompt[len(shared) :] for prompt in prompts],
            static_prompt=shared or None,
            max_length=longest,
            min_length=longest,  # no end of sequence before
            beam_size=1,
            sampling_topk=0,  # of the whole vocabulary
            include_prompt_in_result=False,
        )
        return [len(result.sequences_ids[0]) for result in results]


class CTranslate2Int8(CTranslate2Generation):
    name = "ctranslate2_int8"
    arithmetic = "int8"
