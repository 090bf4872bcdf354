"""A direction: which way a group would move a policy, in few enough numbers to be kept for rounds."""

from __future__ import annotations

import numpy as np

SKETCH = 4096  # numbers; with 1,024 peers were told apart about as well
Direction = np.ndarray[tuple[int], np.dtype[np.float32]]  # of length 1
