"""`murmur peers --allow | --deny | --by-record`: the owner's word on a peer, told in full or by the end of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.storage.events import History
from node.storage.run_folder import RunFolder, find_run
from node.storage.trust_lists import TrustError, TrustFile, Word
from node.ui.short_names import short_peer
from node.ui.terminal.window import say_lines
from swarm.visible_text import counted, one_line

SAID: dict[Word, str] = {
    "allow": "counts as known from the next round on",
    "deny": "rests from the next round on: nothing is fetched from it",
    "record": "stands by its record from the next round on",
}
SHOWN_PEERS = 8  # in a message
LONG = 40  # characters from which a name is a whole PeerID, which the run need not have met


def say_of_peers(
    invite: str | None, run_dir: Path | None, allow: str | None, deny: str | None, by_record: str | None
) -> None:
    """Keeps each word in the run's folder and prints what it does.

    Raises TrustError, RunFolderError, StoreError.
    """
    if invite is not None:
        raise TrustError(
            "a word on a peer is kept by one run: name it with --run-dir, and leave out the invite"
        )
    folder = find_run(run_dir)
    words: list[tuple[Word, str | None]] = [("allow", allow), ("deny", deny), ("record", by_record)]
    for word, name in words:
        if name:
            peer = name if len(name) >= LONG else _met(folder, name.lstrip("…"))
            TrustFile(folder.trust).keep(peer, word)
            say_lines(f"{folder.path}: {short_peer(peer)} {SAID[word]}")


def _unclear(name: str, folder: RunFolder, met: Sequence[str], found: int) -> str:
    if found:
        return f"{name}: {counted(found, 'peer')} of {folder.path} end so; give more of the name's end"
    if not met:
        return f"{name}: {folder.path} has met no peer yet; whom it has not met has to be named in full"
    known = ", ".join(map(short_peer, met[:SHOWN_PEERS]))
    more = f", and {len(met) - SHOWN_PEERS} more" if len(met) > SHOWN_PEERS else ""
    return f"{name}: no peer of {folder.path} ends so; it has met {known}{more}"


def _met(folder: RunFolder, end: str) -> str:
    """The one peer of the run whose name ends so. Raises TrustError, StoreError."""
    history = History(folder.events)
    names = {event.peer for event in history.peers()} | {event.peer for event in history.external()}
    found = sorted(name for name in names if end and name.endswith(end))
    if len(found) != 1:
        raise TrustError(_unclear(one_line(end) or "an empty name", folder, sorted(names), len(found)))
    return found[0]
