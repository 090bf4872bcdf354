"""Fetching of rows: each piece from any member that has it, checked by its digest; who fails rests, who lies is out."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.framing import Dial, Status, Stream, encode_request, read_frame, write_frame
from swarm.rows.pieces import packed_limit, unpack
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

log = logging.getLogger(__name__)

_ANSWER_TIMEOUT = 6.0  # seconds until an answer's first bytes
_PAUSE = 0.25  # seconds at least between looks for a holder that has rested


class Fault(StrEnum):
    """Why a member gave no piece; counted as `rows_from_<fault>`."""

    WRONG = "wrong"  # other bytes than the digest stands for
    MALFORMED = "malformed"  # too long, of another size, or no frame of ours
    SLOW = "slow"
    UNREACHABLE = "unreachable"
    NOT_FOUND = "not_found"
    BUSY = "busy"


# Seconds that a member is not asked again. Who sent other bytes than asked for is not asked again at all.
REST: dict[Fault, float] = {
    Fault.WRONG: math.inf,
    Fault.MALFORMED: math.inf,
    Fault.SLOW: 60.0,
    Fault.UNREACHABLE: 20.0,
    Fault.NOT_FOUND: 20.0,
    Fault.BUSY: 1.0,
}


class PieceRefused(FetchFailed):
    """One member gave no piece."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece of the rows under `root`: its number, its length in bytes and its digest. Number 0 is the list itself."""

    root: bytes
    number: int
    length: int
    digest: bytes


class RowsFetcher:
    """Of one node, in one event loop."""

    def __init__(self, own: Membership, generator: random.Random | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self._own = own
        self._generator = generator or random.Random()
        self._rest: dict[tuple[bytes, str], tuple[float, Fault]] = {}  # (root, peer) -> monotonic seconds

    async def fetch(self, wanted: Wanted, holders: Sequence[Address], dial: Dial, seconds: float) -> bytes:
        """From the first of `holders` that gives it, asked in random order, within `seconds`.

        Each holder's address ends in /p2p/<PeerID>. Raises FetchFailed with what came of each.
        """
        by_peer = {a.peer: a for a in holders if a.peer}
        deadline = time.monotonic() + seconds
        while True:
            for peer in self._awake(wanted.root, sorted(by_peer)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                if (content := await self._try(wanted, by_peer[peer], dial, left)) is not None:
                    return content
            again = min((self._rested(wanted.root, peer) for peer in by_peer), default=math.inf)
            if again >= deadline:
                raise FetchFailed(self._causes(wanted.root, sorted(by_peer)))
            await asyncio.sleep(max(_PAUSE, again - time.monotonic()))

    async def _try(self, wanted: Wanted, holder: Address, dial: Dial, seconds: float) -> bytes | None:
        assert holder.peer is not None
        try:
            async with asyncio.timeout(seconds):
                stream = await dial(holder.peer, [str(holder.without_peer())])
                content = await ask_piece(stream, self._own, wanted)
        except (FetchFailed, TimeoutError) as error:
            self._note(wanted, holder.peer, _fault_of(error))
            return None
        self.counters.update(rows_fetched=1, rows_fetched_bytes=len(content))
        return content

    def _note(self, wanted: Wanted, peer: str, fault: Fault) -> None:
        self.counters[f"rows_from_{fault}"] += 1
        self._rest[wanted.root, peer] = time.monotonic() + REST[fault], fault
        log.info("piece %d of rows: %s is %s", wanted.number, peer, fault)

    def _awake(self, root: bytes, peers: Sequence[str]) -> list[str]:
        now = time.monotonic()
        awake = [peer for peer in peers if self._rested(root, peer) <= now]
        return self._generator.sample(awake, len(awake))

    def _rested(self, root: bytes, peer: str) -> float:
        return self._rest[root, peer][0] if (root, peer) in self._rest else 0.0

    def _causes(self, root: bytes, peers: Sequence[str]) -> str:
        told = [f"{peer}: {self._rest[root, peer][1]}" for peer in peers if (root, peer) in self._rest]
        return "; ".join(told) or "no member is known"


def _fault_of(error: FetchFailed | TimeoutError) -> Fault:
    if isinstance(error, PieceRefused):
        return error.fault
    return Fault.SLOW if isinstance(error, TimeoutError) else Fault.UNREACHABLE


async def ask_piece(stream: Stream, own: Membership, wanted: Wanted) -> bytes:
    """The piece from the peer at the other end, checked. Raises PieceRefused."""
    reader, writer = stream
    try:
        question = encode_request(own.swarm, wanted.root, wanted.number, own.token)
        await write_frame(writer, Status.OK, question)
        status, packed = await read_frame(reader, packed_limit(wanted.length), _ANSWER_TIMEOUT)
        if status is not Status.OK:
            raise PieceRefused(Fault.BUSY if status is Status.BUSY else Fault.NOT_FOUND)
        content = unpack(packed, wanted.length)
    except DecodeError:
        raise PieceRefused(Fault.MALFORMED) from None
    except TimeoutError:
        raise PieceRefused(Fault.SLOW) from None
    except (OSError, EOFError):
        raise PieceRefused(Fault.UNREACHABLE) from None
    finally:
        writer.close()
    if hashlib.sha256(content).digest() != wanted.digest:
        raise PieceRefused(Fault.WRONG)
    return content
