"""A direction: which way a group would move a policy, in few enough numbers to be kept for rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # views load this too, and need no numpy
    import numpy as np

SKETCH = 4096  # numbers; with 1,024 peers were told apart about as well
Direction: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float32]]"  # of length 1
