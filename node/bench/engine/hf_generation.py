"""The two ways in which transformers itself samples completions of many prompts, as rivals of the engine."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from policies.text.engine import Request

PAGE_SIZE = 32  # tokens of cache in one page
MAX_BATCH_TOKENS = 2048  # tokens of prompts and rows in one pass


class PlainGeneration:
    """`model.generate` on repeated prompts, left-padded by nothing: prompts of a case are equally long."""

    name = "generate"

    def __init__(self, model: PreTrainedModel, never_sampled: int) -> None:
        self.arithmetic = str(model.dtype).removeprefix("torch.")
        self._model = model
        self._never_sampled = never_sampled

    def complete(self, requests: Sequence[Request]) -> list[int]:
        """Lengths of the completions, all as long as the longest asked for: `generate` has one length cap."""
        prompts = torch.tensor([request.prompt_ids for request in requests], device=self._model.device)
        longest = max(request.max_new_tokens for request in requests)
        sequences = self._model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            generation_config=_sampling(longest, self._never_sampled),
        )
        return [len(row) for row in sequences[:, prompts.shape[1] :].tolist()]


class DynamicInt8(PlainGeneration):
    """`generate` on torch's dynamic int8: the one line that a user would add. Its log-probs are coarse."""

    name = "int8"

    def __init__(self, model: PreTrainedModel, never_sampled: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to move it to another package
            quantised = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                copy.deepcopy(model).float(), {torch.nn.Linear}, dtype=torch.qint8
            )
        super().__init__(quantised, never_sampled)
        self.arithmetic = "int8"


class ContinuousBatching:
    """transformers' continuous batching, each request with its own length cap.

    Works on a copy: it changes the attention of the model that it is given. Its cache is sized for the requests;
    by itself it takes half of the machine's memory.
    """

    name = "batching"

    def __init__(self, model: PreTrainedModel, never_sampled: int) -> None:
        self.arithmetic = str(model.dtype).removeprefix("torch.")
        self._model = copy.deepcopy(model)
        self._never_sampled = never_sampled

    def complete(self, requests: Sequence[Request]) -> list[int]:
        """Lengths of the completions, in order. Raises RuntimeError when one does not come back whole."""
        longest = max(request.max_new_tokens for request in requests)
        lengths: dict[str, int] = {}
        with self._model.continuous_batching_context_manager(
            generation_config=_sampling(longest, self._never_sampled),
            continuous_batching_config=_paged(requests),
            timeout=5,
        ) as manager:
            names = [
                manager.add_request(list(request.prompt_ids), max_new_tokens=request.max_new_tokens)
                for request in requests
            ]
            for output in manager:
                if output.error is not None:
                    raise RuntimeError(f"continuous batching failed: {output.error}")
                if output.is_finished():
                    lengths[output.request_id] = len(output.generated_tokens)
                if len(lengths) == len(names):
                    break
        if len(lengths) != len(names):
            raise RuntimeError(f"continuous batching ended after {len(lengths)} of {len(names)} completions")
        return [lengths[name] for name in names]


def _sampling(longest: int, never_sampled: int) -> GenerationConfig:
    """Plain sampling, as the engine's: temperature 1, no filter, no end of sequence."""
    return GenerationConfig(
        max_new_tokens=longest,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=never_sampled,
        pad_token_id=0,
        disable_compile=True,
    )


def _paged(requests: Sequence[Request]) -> ContinuousBatchingConfig:
    pages = [-(-(len(request.prompt_ids) + request.max_new_tokens) // PAGE_SIZE) for request in requests]
    return ContinuousBatchingConfig(
        page_size=PAGE_SIZE,
        num_blocks=sum(pages) + len(pages),  # one to spare a request, so that nobody is evicted
        max_batch_tokens=max(MAX_BATCH_TOKENS, len(requests)),
        max_requests_per_batch=len(requests),
    )
