"""The one short form of a PeerID, in every table, line and page; `--json` has them whole."""

from __future__ import annotations

SHOWN = 8  # characters at a PeerID's end: all begin alike


def short_peer(peer: str) -> str:
    """`…4xJq8RtU`, or all of a name that is hardly longer; empty for none."""
    return peer if len(peer) <= SHOWN + 1 else f"…{peer[-SHOWN:]}"
