"""The text policy: a Hugging Face causal language model, sampled by `generate` and trained by TRL's GRPO."""

import os

# Read when a model is loaded: a repository that holds only pickles is refused, not sent to the hub's conversion
# service.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
