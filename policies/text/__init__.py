"""The text policy: a Hugging Face causal language model, sampled by our engine and trained by TRL's GRPO loss."""

import os

# Read when a model is loaded: a repository that holds only pickles is refused, not sent to the hub's conversion
# service.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
