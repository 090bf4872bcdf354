"""The one short form of a PeerID and of a task's name, in every table, line and page; `--json` has them whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LEAST_DIGEST = 6  # characters of a digest behind a task's @: a plain version has fewer
DIGESTS = (
    "task: the digests behind its @, by which nodes know equal tasks, are left out here; --json has them"
)
SHOWN = 8  # characters at a PeerID's end: all begin alike


def short_peer(peer: str) -> str:
    """`…4xJq8RtU`, or all of a name that is hardly longer; empty for none."""
    return peer if len(peer) <= SHOWN + 1 else f"…{peer[-SHOWN:]}"


def digests_left_out(short: Mapping[str, str]) -> str:
    """The legend of what `short_tasks` gave; empty where all names are whole."""
    return DIGESTS if any(name != shown for name, shown in short.items()) else ""


def short_tasks(names: Iterable[str]) -> dict[str, str]:
    """By full name `data:words` of `data:words@e1fd...`: without digests where no other of `names` begins alike."""
    full = sorted(set(names))
    stems = [name.partition("@")[0] for name in full]
    return {
        name: stem if stems.count(stem) == 1 and len(name) - len(stem) > LEAST_DIGEST else name
        for name, stem in zip(full, stems, strict=True)
    }
