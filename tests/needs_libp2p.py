"""Tests of what py-libp2p does skip where it is missing: it is an extra, and the rest is tested without it."""

from __future__ import annotations

import pytest

from swarm.extras import has_libp2p, install_command

REASON = f"py-libp2p is missing: {install_command()}"

needs_libp2p = pytest.mark.skipif(not has_libp2p(), reason=REASON)
