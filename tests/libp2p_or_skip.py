"""Imported first by test modules whose own imports need py-libp2p: without it, the module is skipped with a reason."""

from __future__ import annotations

import pytest
from needs_libp2p import REASON

from swarm.extras import has_libp2p

if not has_libp2p():
    pytest.skip(REASON, allow_module_level=True)
