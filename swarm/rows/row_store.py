"""The row store keeps shared rows as files, each under the digest of its piece list, whole or as a draft of one.

A draft grows piece by piece and outlives a kill; what it holds is checked again before it grows on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from policies.plain_files import read_bytes
from swarm.limits import ROWS_PIECE
from swarm.rows.pieces import PieceList

ENDING, PARTIAL = ".jsonl", ".part"
_PRIVATE = 0o600


class StoreBusy(OSError):
    """Another process fetches the same rows."""


@dataclass(frozen=True, slots=True)
class RowStore:
    """A folder, which is made when first needed."""

    folder: Path

    def path(self, root: bytes) -> Path:
        """Where the rows of this list are, or would be."""
        return self.folder / f"{root.hex()}{ENDING}"

    def find(self, root: bytes) -> Path | None:
        """The file of these rows if it is here and whole; counts as a use of it. Raises OSError."""
        path = self.path(root)
        if not path.is_file() or PieceList.of(read_bytes(path)).root != root:
            return None
        os.utime(path)
        return path

    def put(self, content: bytes) -> Path:
        """Keeps `content` under its own digest. Raises OSError."""
        pieces = PieceList.of(content)
        if found := self.find(pieces.root):
            return found
        with self.draft(pieces) as draft:
            for number in range(draft.held, len(pieces.digests)):
                draft.add(content[number * ROWS_PIECE : (number + 1) * ROWS_PIECE])
            return draft.land()

    def make_room(self, most: int, keep: Collection[bytes] = ()) -> list[Path]:
        """Removes rows, and drafts of them, that were not used for longest, until what is here has `most` bytes.

        Those of the roots `keep` stay. Gives what was removed. Raises OSError.
        """
        kept = {self.path(root).stem for root in keep}
        found = [p for ending in (ENDING, PARTIAL) for p in self.folder.glob(f"*{ending}")]
        facts = sorted(fact for path in found for fact in _facts(path))
        held = sum(size for _, size, _ in facts)
        removed = []
        for _, size, path in facts:
            if held > most and path.stem not in kept:
                path.unlink(missing_ok=True)
                removed.append(path)
                held -= size
        return removed

    @contextmanager
    def draft(self, pieces: PieceList) -> Iterator[Draft]:
        """What is here of rows that are on their way, held until the block is left. Raises StoreBusy, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        landed = self.path(pieces.root)
        partial = landed.with_suffix(PARTIAL)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE)
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusy(f"another murmur is fetching {partial}") from None
            if not _same(partial, descriptor):  # it landed meanwhile
                raise StoreBusy(f"another murmur has just fetched {landed}")
            yield Draft(pieces, file, partial, landed)


def _facts(path: Path) -> Iterator[tuple[float, int, Path]]:
    """When it was used last, and its bytes; nothing of what another process landed or removed meanwhile."""
    with suppress(FileNotFoundError):
        found = path.stat()
        yield found.st_mtime, found.st_size, path


def _same(path: Path, descriptor: int) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))


class Draft:
    """Rows on their way to the store. `held` pieces are here and checked; the next one is number `held`."""

    def __init__(self, pieces: PieceList, file: BinaryIO, partial: Path, landed: Path) -> None:
        self._pieces, self._file = pieces, file
        self._partial, self._landed = partial, landed
        self.held = self._count_good()
        file.truncate(self.held * ROWS_PIECE)

    def add(self, piece: bytes) -> None:
        """The next piece, which the caller has checked. Raises OSError."""
        self._file.seek(self.held * ROWS_PIECE)
        self._file.write(piece)
        self._file.flush()
        self.held += 1

    def land(self) -> Path:
        """Makes the whole file readable under its name. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._partial.replace(self._landed)
        return self._landed

    def _count_good(self) -> int:
        for number, digest in enumerate(self._pieces.digests):
            piece = self._file.read(self._pieces.length(number))
            if hashlib.sha256(piece).digest() != digest:
                return number
        return len(self._pieces.digests)


class SharedRows:
    """Files of rows that this node hands on, by the roots that their names promise; read a piece at a time."""

    def __init__(self, paths: tuple[Path, ...] = ()) -> None:
        """A file that does not hold what its name promises is left out, and counted in `damaged`."""
        self.damaged = 0
        self._files: dict[bytes, tuple[Path, PieceList]] = {}
        for path in paths:
            try:
                pieces = PieceList.of(read_bytes(path))
            except OSError:
                self.damaged += 1
                continue
            if pieces.root.hex() == path.stem:
                self._files[pieces.root] = path, pieces
            else:
                self.damaged += 1

    def list_of(self, root: bytes) -> PieceList | None:
        """The list with this digest, if its rows are handed on here."""
        found = self._files.get(root)
        return found[1] if found else None

    def read(self, root: bytes, number: int) -> bytes | None:
        """Piece `number`, counted from 0; None where the file no longer holds it."""
        path, pieces = self._files[root]
        try:
            with path.open("rb") as file:
                file.seek(number * ROWS_PIECE)
                piece = file.read(pieces.length(number))
        except OSError:
            return None
        return piece if hashlib.sha256(piece).digest() == pieces.digests[number] else None

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return sum(pieces.size for _, pieces in self._files.values())
