"""The owner's word on peers: kept whole, before the config's lists, followed by a node that runs."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.storage import trust_lists
from node.storage.trust_lists import TrustError, TrustFile, TrustLists
from swarm.wire.identity import Identity

ALICE, BOB, CARL = (Identity(bytes([number]) * 32).peer_id for number in (1, 2, 3))


@pytest.fixture
def file(tmp_path: Path) -> TrustFile:
    return TrustFile(tmp_path / "trust.json", allow=[ALICE], deny=[BOB])


def test_a_word_goes_before_the_config_and_is_taken_back(file: TrustFile, tmp_path: Path) -> None:
    assert file.words() == {ALICE: "allow", BOB: "deny"}
    file.keep(ALICE, "deny")
    file.keep(BOB, "record")
    file.keep(CARL, "allow")
    assert file.lists() == TrustLists(frozenset({CARL}), frozenset({ALICE}))
    file.keep(ALICE, "record")
    assert file.words() == {CARL: "allow"}
    assert stat.S_IMODE((tmp_path / "trust.json").stat().st_mode) == 0o600


def test_news_come_once_for_each_writing(file: TrustFile, tmp_path: Path) -> None:
    assert file.news() is None
    file.keep(CARL, "deny")
    assert file.news() == TrustLists(frozenset({ALICE}), frozenset({BOB, CARL}))
    assert file.news() is None
    TrustFile(tmp_path / "trust.json").keep(CARL, "record")  # another process
    assert file.news() == TrustLists(frozenset({ALICE}), frozenset({BOB}))


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "maybe"}', '{"a": ["deny"]}', "\udc80"])
def test_a_damaged_file_leaves_the_config(
    file: TrustFile, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trust.json").write_bytes(content.encode(errors="surrogateescape"))
    assert file.words() == {ALICE: "allow", BOB: "deny"} and "is not read" in caplog.text
    before = (tmp_path / "trust.json").read_bytes()
    with pytest.raises(TrustError, match="would lose your words on peers: mend it, or move it away"):
        file.keep(CARL, "deny")
    assert (tmp_path / "trust.json").read_bytes() == before


@pytest.mark.parametrize(("peer", "word"), [("12D3KooWNobody", "deny"), ("<b>", "allow"), (ALICE, "love")])
def test_what_is_no_peer_or_no_word_is_refused(file: TrustFile, tmp_path: Path, peer: str, word: str) -> None:
    with pytest.raises(TrustError):
        file.keep(peer, word)
    assert not (tmp_path / "trust.json").exists()


def test_words_that_are_told_at_the_same_moment_are_all_kept(tmp_path: Path) -> None:
    """Each thread has a file of its own, as each process has: locks are by open file."""
    peers = [Identity(bytes([number]) * 32).peer_id for number in range(1, 9)]
    together = threading.Barrier(len(peers))

    def tell(peer: str) -> None:
        together.wait()
        for word in ("allow", "deny", "allow"):
            TrustFile(tmp_path / "trust.json").keep(peer, word)

    with ThreadPoolExecutor(len(peers)) as threads:
        for told in [threads.submit(tell, peer) for peer in peers]:
            told.result()
    assert TrustFile(tmp_path / "trust.json").lists().allow == frozenset(peers)


def test_a_writer_that_does_not_finish_is_told_of(
    file: TrustFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust_lists, "_PAUSE", 0.0)
    with (
        TrustFile(tmp_path / "trust.json")._writing(),
        pytest.raises(TrustError, match="does not finish: end it"),
    ):
        file.keep(CARL, "allow")
    file.keep(CARL, "allow")
    assert CARL in file.lists().allow
