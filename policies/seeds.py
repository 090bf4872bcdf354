"""Seeds of all random choices, derived from (run seed, purpose...) so that a run can be replayed and resumed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(run_seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that is independent for every purpose path. Stable over processes and platforms."""
    path = "\x1f".join([str(run_seed), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1


def derive_generator(run_seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose; see `derive_seed`."""
    import numpy as np  # here, since verbs that only look draw nothing

    return np.random.default_rng(derive_seed(run_seed, *purpose))
