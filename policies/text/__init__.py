"""The text policy: a Hugging Face causal language model, sampled by `generate` and trained by TRL's GRPO."""

import os

# Read when the libraries are imported and when they load a model. A node reports to nobody, and a repository
# that holds only pickles is refused, not sent to the hub's conversion service.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
