"""The run behind a page: looked at by any number of readers, at the cost of one."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from node.storage.run_folder import RunFolder, baseline_of, demo_pairs
from node.storage.trust_lists import TrustError, TrustFile
from node.ui.invocation import murmur
from node.web.dashboard_data import Source, plain, project
from node.web.details import peer_details, round_details
from node.web.errors import QueryError
from node.web.kept import KeptHistory
from node.web.rollouts import image_file, look_up
from policies.plain_files import parse_json

FRESH_SECONDS: Final = 2.0  # so long a look holds for whoever asks next
REST: Final = 20  # or so many times as long as it took: a long run leaves the processor to the training


class Watched:
    """A run that is looked at time and again, from several threads."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._histories: dict[RunFolder, KeptHistory] = {}
        self._lock = threading.RLock()
        self._seen: dict[str, Any] = {}
        self._until = 0.0  # of the monotonic clock: what was seen counts as new

    def look(self) -> dict[str, Any]:
        """What the page shows of the run right now, ready for JSON. Raises ConfigError, StoreError."""
        name = self._folder.path.absolute().name
        with self._lock:
            baseline = baseline_of(self._folder)
            node, control = self._source(self._folder), self._source(baseline) if baseline else None
            demo = [(self._source(one), self._source(other)) for one, other in demo_pairs(self._folder)]
            return plain(project(name, node, control, time.time(), demo))

    def look_again(self) -> dict[str, Any]:
        """The same, or what was seen a moment ago. For the stream to every open page."""
        with self._lock:
            began = time.monotonic()
            if began >= self._until:
                self._seen = self.look()
                took = time.monotonic() - began
                self._until = began + max(FRESH_SECONDS, REST * took)
            return self._seen

    def rollouts(self, query: str) -> dict[str, Any]:
        """What the page's filters find, ready for JSON. Raises QueryError, StoreError."""
        return look_up(self._folder.events, query)

    def say(self, said: bytes) -> dict[str, Any]:
        """Keeps the owner's word on a peer, and gives all words. Raises QueryError for what is none, OSError."""
        try:
            told = parse_json(said)
            self._trust().keep(str(told["peer"]), str(told["word"]))
        except (TrustError, ValueError, TypeError, KeyError) as error:
            words = str(error) if isinstance(error, TrustError) else "a word on a peer is peer and word"
            raise QueryError(words) from error
        self._until = 0.0
        return {"words": self._trust().words()}

    def image(self, query: str) -> bytes | None:
        """A rollout's image as a PNG file. Raises QueryError, StoreError."""
        return image_file(self._folder.events, query)

    def round(self, query: str) -> dict[str, Any]:
        """One round in full, ready for JSON. Raises QueryError, StoreError."""
        with self._lock:
            return round_details(self._history(self._folder), query)

    def peer(self, query: str) -> dict[str, Any]:
        """One peer in full, ready for JSON. Raises QueryError, StoreError."""
        with self._lock:
            found = peer_details(self._history(self._folder), self._folder.events, query)
        return found | {"words": self._trust().words()}

    def _trust(self) -> TrustFile:
        trust = self._folder.read_config().trust
        return TrustFile(self._folder.trust, trust.allow, trust.deny)

    def _history(self, run: RunFolder) -> KeptHistory:
        return self._histories.setdefault(run, KeptHistory(run.events))

    def _source(self, run: RunFolder) -> Source:
        """A resumed run may have more rounds to play, so its config is read each time."""
        resumption = murmur("run", "--resume", "--run-dir", run.path)
        return Source(run.read_config(), self._history(run), resumption, run.in_use(), run, run.read_cause())
