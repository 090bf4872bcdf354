"""The row store: whole files alone are found, drafts go on where they were, damage is noticed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from row_streams import CONTENT, PIECES

from swarm.limits import ROWS_PIECE
from swarm.rows.row_store import RowStore, SharedRows, StoreBusy


def test_what_is_put_is_found_under_its_digest_and_is_private(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows")
    assert store.find(PIECES.root) is None
    path = store.put(CONTENT)
    assert path == store.find(PIECES.root) == store.put(CONTENT)
    assert path.read_bytes() == CONTENT and path.stem == PIECES.root.hex()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in (tmp_path / "rows").iterdir()] == [path.name]


def test_a_draft_goes_on_after_its_last_good_piece(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    with store.draft(PIECES) as draft:
        assert draft.held == 0
        draft.add(CONTENT[:ROWS_PIECE])
        draft.add(CONTENT[ROWS_PIECE : 2 * ROWS_PIECE])
        assert store.find(PIECES.root) is None
    partial = next(tmp_path.glob("*.part"))
    damaged = bytearray(partial.read_bytes() + b"half a pie")
    partial.write_bytes(damaged)
    with store.draft(PIECES) as draft:
        assert draft.held == 2
    damaged[ROWS_PIECE + 5] ^= 1
    partial.write_bytes(damaged)
    with store.draft(PIECES) as draft:
        assert draft.held == 1
        for start in (ROWS_PIECE, 2 * ROWS_PIECE):
            draft.add(CONTENT[start : start + ROWS_PIECE])
        assert draft.land() == store.find(PIECES.root)


def test_a_draft_is_of_one_process_at_a_time(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    with store.draft(PIECES), pytest.raises(StoreBusy), store.draft(PIECES):
        pass


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    path = store.put(CONTENT)
    path.write_bytes(CONTENT[:-2] + b"x\n")
    assert store.find(PIECES.root) is None
    assert SharedRows((path, tmp_path / "gone.jsonl")).damaged == 2
    assert store.put(CONTENT) == store.find(PIECES.root)


def test_a_file_that_changes_while_it_is_served_gives_no_piece(tmp_path: Path) -> None:
    path = RowStore(tmp_path).put(CONTENT)
    shared = SharedRows((path,))
    assert shared.list_of(PIECES.root) == PIECES and shared.list_of(bytes(32)) is None
    assert shared.read(PIECES.root, 2) == CONTENT[2 * ROWS_PIECE :] and shared.size == len(CONTENT)
    path.write_bytes(b"x" + CONTENT[1:])
    assert shared.read(PIECES.root, 0) is None and shared.read(PIECES.root, 1) is not None
    path.unlink()
    assert shared.read(PIECES.root, 1) is None


def test_rows_that_were_not_used_for_longest_give_way(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    paths = [store.put(bytes([n]) * 1000) for n in range(4)]
    (tmp_path / f"{'0' * 64}.part").write_bytes(b"x" * 1000)
    (tmp_path / "another").write_bytes(b"x" * 9000)  # not ours
    for age, path in enumerate([tmp_path / f"{'0' * 64}.part", *paths]):
        os.utime(path, (age, age))
    roots = [bytes.fromhex(path.stem) for path in paths]
    assert store.make_room(5000) == []
    assert store.find(roots[1]) == paths[1], "which is a use"
    assert store.make_room(2500, keep=[roots[0]]) == [tmp_path / f"{'0' * 64}.part", paths[2], paths[3]]
    assert {path.name for path in tmp_path.iterdir()} == {paths[0].name, paths[1].name, "another"}
    assert RowStore(tmp_path / "none").make_room(0) == []
