"""The owner's word on single peers, in the run folder: the page and `murmur peers` write it, the running node follows.

It goes before the config's `trust.allow` and `trust.deny`, which say what a run begins with.
"""

from __future__ import annotations

import fcntl
import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from node.storage.run_folder import write_atomic
from policies.error_words import brief
from policies.plain_files import read_json, require_plain
from swarm.errors import DecodeError
from swarm.wire.identity import peer_bytes

log = logging.getLogger(__name__)

Word = Literal["allow", "deny", "record"]  # record: none of the owner's, the peer's record decides
WORDS: Final = get_args(Word)
MAX_PEERS: Final = 4096
_ATTEMPTS, _PAUSE = 250, 0.02  # to write, and seconds between them: a writing takes milliseconds


class TrustError(ValueError):
    """A word that cannot be kept; the message says why."""


@dataclass(frozen=True, slots=True)
class TrustLists:
    """PeerIDs: who always counts as known, and from whom nothing is fetched. Nobody is in both."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()

    def with_word(self, peer: str, word: Word) -> TrustLists:
        return TrustLists(
            self.allow | {peer} if word == "allow" else self.allow - {peer},
            self.deny | {peer} if word == "deny" else self.deny - {peer},
        )


class TrustFile:
    """One run's lists. Any process may write them; each reader sees whole ones."""

    def __init__(self, path: Path, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """`allow` and `deny` are the config's, for peers on whom the file says nothing."""
        self._path = path
        self._config = TrustLists(frozenset(allow), frozenset(deny))
        self._stamp: tuple[int, int] | None = None

    def lists(self) -> TrustLists:
        """As of now; those of the config where the file is not there, or is damaged, which the log says."""
        lists = self._config
        for peer, word in self._words().items():
            lists = lists.with_word(peer, word)
        return lists

    def words(self) -> dict[str, Word]:
        """Each peer on whom there is a word, the config's among them."""
        lists = self.lists()
        return {peer: "allow" if peer in lists.allow else "deny" for peer in sorted(lists.allow | lists.deny)}

    def news(self) -> TrustLists | None:
        """The lists where the file is another than at the last call; else None."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)  # each writing makes a file of its own
        except OSError:
            return None
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        return self.lists()

    def keep(self, peer: str, word: str) -> None:
        """Raises TrustError for what is no PeerID or no word, for a file that is damaged, which stays as it is, and
        where another process does not finish its writing.

        Raises OSError where the folder cannot be written.
        """
        try:
            peer_bytes(peer)
        except DecodeError:
            raise TrustError("not a PeerID: it looks like 12D3KooW..., as `murmur peers` shows it") from None
        if word not in WORDS:
            raise TrustError(f"a word on a peer is one of {', '.join(WORDS)}")
        with self._writing():
            try:
                words = self._kept() | {peer: word}
            except (OSError, ValueError) as error:
                raise TrustError(
                    f"{self._path} cannot be read ({brief(error)}), and a new one would lose your words on peers: mend "
                    "it, or move it away, and say it again"
                ) from None
            if len(words) > MAX_PEERS:
                raise TrustError(f"{self._path} has a word on {MAX_PEERS} peers: take some out by hand")
            write_atomic(self._path, json.dumps(words, indent=1, sort_keys=True) + "\n", mode=0o600)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, over all processes: of two at once, each would keep its own word alone."""
        lock = self._path.with_suffix(".lock")
        require_plain(lock)
        with lock.open("a", encoding="ascii") as holder:
            for _ in range(_ATTEMPTS):
                try:
                    fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_PAUSE)
            else:
                raise TrustError(
                    f"{self._path} is being written by another process, which does not finish: end it, and try again"
                )
            yield

    def _kept(self) -> dict[str, Word]:
        """Raises OSError and ValueError for a file that is there and cannot be read whole."""
        try:
            words = read_json(self._path)
        except FileNotFoundError:
            return {}
        if not isinstance(words, dict) or not all(word in WORDS for word in words.values()):
            raise ValueError("not one word a peer")
        return words

    def _words(self) -> dict[str, Word]:
        try:
            return self._kept()
        except (OSError, ValueError) as error:
            log.warning(
                "%s is not read (%s): the config's trust.allow and trust.deny hold", self._path, brief(error)
            )
            return {}
