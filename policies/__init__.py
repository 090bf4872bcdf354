"""The learning half of a node: tasks and verifiers, advantages, strategies, and the policies themselves.

Knows no network and no process: `swarm` and `node` import from here, never the other way round.
"""

import os

# Read by the Hugging Face libraries when they are imported, which is after this. A node reports to nobody: TRL
# would write to the hub at its start, and a silo opens no socket.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Read by numpy's library when that is imported. Its threads wait by turning: to open a peer's images took five times
# the processor time on a busy machine. Torch has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
