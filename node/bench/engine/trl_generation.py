"""TRL's own way to sample completions, as a rival. The only file of the benchmarks that calls a private name of TRL.

Works with trl 1.16: `GRPOTrainer._generate_single_turn` on prompts that are tokenized and repeated already.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Sequence

import torch
import trl
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from node.bench.kit.options import BenchError
from policies.text.engine import Request
from policies.text.trl_config import LOOP_UNUSED

EXPECTED = ("self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images")


class _Silent(GRPOTrainer):
    """TRL reports every new trainer to the hub. A benchmark reports to nobody."""

    def _send_telemetry(self) -> None:
        pass


class TrlGeneration:
    """The regular path (neither vLLM nor continuous batching) of a real trainer. Owns `model`, which TRL patches."""

    name = "trl"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, never_sampled: int
    ) -> None:
        require_known_signature()
        self.arithmetic = str(model.dtype).removeprefix("torch.")
        with tempfile.TemporaryDirectory() as unused:
            self._trainer = _Silent(
                model=model,
                args=_config(model.device, unused, never_sampled),
                reward_funcs=lambda completions, **_: [0.0] * len(completions),
                train_dataset=Dataset.from_dict({"prompt": [""] * 2}),
                processing_class=tokenizer,
            )
        # Beside what generation stops at, this is what the trainer cuts completions at.
        self._trainer.eos_token_ids = [never_sampled]

    def complete(self, requests: Sequence[Request]) -> list[int]:
        """Lengths of the completions, all as long as the longest asked for: the path has one length cap."""
        longest = max(request.max_new_tokens for request in requests)
        self._trainer.generation_config.max_new_tokens = longest
        prompts = [list(request.prompt_ids) for request in requests]
        with warnings.catch_warnings():
            # TRL 1.16 asks transformers 5.23 for `is_gradient_checkpointing`, its name of old.
            warnings.simplefilter("ignore", FutureWarning)
            completions, _ = self._trainer._generate_single_turn(prompts, None, {}, len(prompts))
        return [len(completion) for completion in completions]


def require_known_signature() -> None:
    """Raises BenchError when the private method is not the one that this file was written for."""
    method = getattr(GRPOTrainer, "_generate_single_turn", None)
    found = tuple(inspect.signature(method).parameters) if method else ()
    if found != EXPECTED:
        raise BenchError(
            f"trl {trl.__version__} has another GRPOTrainer._generate_single_turn ({', '.join(found)}) than 1.16: "
            "install trl 1.16, or adapt node/bench/engine/trl_generation.py"
        )


def _config(device: torch.device, folder: str, never_sampled: int) -> GRPOConfig:
    """Plain sampling in the weights' own type: no autocast, no checkpointing, no filters, no end of sequence."""
    return GRPOConfig(
        output_dir=folder,
        generation_kwargs={"eos_token_id": [never_sampled]},
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        bf16=False,
        activation_checkpointing=False,
        use_cpu=device.type == "cpu",
        use_cache=True,
        **LOOP_UNUSED,
    )
