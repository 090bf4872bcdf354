"""Converted models in the cache: found again, made again where damaged, pruned, and safe among processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.text.loading import conversion_cache
from policies.text.loading.conversion_cache import ConversionCache, digest_of


def whole(folder: Path) -> bool:
    return True


def writes(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model").write_bytes(content)
        (folder / "config").write_text("{}")

    return write


def read(folder: Path) -> bytes:
    return (folder / "model").read_bytes()


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    cache = ConversionCache(tmp_path)
    assert cache.read("a", read) is None
    cache.keep("a", writes(b"weights"), whole)
    assert cache.read("a", read) == b"weights" and cache.read("b", read) is None


def test_a_digest_is_of_the_bytes_and_of_what_else_decides(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    before = digest_of(file, "float32")
    assert digest_of(file, "float32") == before != digest_of(file, "bfloat16")
    file.write_bytes(b"two")
    assert digest_of(file, "float32") != before


@pytest.mark.parametrize("damage", ["zeros", "cut", "missing", "flipped bit", "sums", "no sums", "added"])
def test_a_damaged_entry_is_noticed_and_made_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ConversionCache(tmp_path)
    cache.keep("a", writes(b"some weights"), whole)
    (folder,) = tmp_path.glob("converted-*")
    model, sums = folder / "model", folder / conversion_cache.SUMS
    if damage == "zeros":  # as a machine that goes down leaves a file
        model.write_bytes(bytes(len(model.read_bytes())))
    elif damage == "cut":
        model.write_bytes(model.read_bytes()[:-1])
    elif damage == "missing":
        model.unlink()
    elif damage == "flipped bit":
        model.write_bytes(bytes([model.read_bytes()[0] ^ 16]) + model.read_bytes()[1:])
    elif damage == "sums":
        sums.write_text("{")
    elif damage == "no sums":
        sums.unlink()
    else:
        (folder / "adapter_config.json").write_text("{}")
    assert cache.read("a", read) is None and "made again" in caplog.text
    assert list(tmp_path.iterdir()) == []
    cache.keep("a", writes(b"some weights"), whole)
    assert cache.read("a", read) == b"some weights"


def test_an_entry_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    cache = ConversionCache(tmp_path)
    cache.keep("a", writes(b"weights"), whole)

    def fails(folder: Path) -> bytes:
        raise RuntimeError("a tensor is missing")

    assert cache.read("a", fails) is None and cache.read("a", read) is None


def test_what_is_not_read_back_as_it_was_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ConversionCache(tmp_path)
    cache.keep("a", writes(b"weights"), lambda folder: False)
    assert list(tmp_path.iterdir()) == [] and "not kept" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    ConversionCache(tmp_path / "file").keep("a", writes(b"weights"), whole)
    assert "not kept" in caplog.text


def test_the_least_recently_used_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ConversionCache(tmp_path)
    for index, name in enumerate("abc"):
        cache.keep(name, writes(bytes(1000)), whole)
        os.utime(tmp_path / f"converted-{name}", (index, index))
    assert cache.read("a", read) is not None  # used now
    monkeypatch.setattr(conversion_cache, "KEPT_BYTES", 2 * 1200)
    cache.keep("d", writes(bytes(1000)), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["converted-a", "converted-d"]
    monkeypatch.setattr(conversion_cache, "KEPT_BYTES", 500)
    cache.keep("e", writes(bytes(1000)), whole)  # alone too large
    assert cache.read("e", read) is None and cache.read("a", read) is not None


def test_several_at_once_make_one_entry(tmp_path: Path) -> None:
    caches = [ConversionCache(tmp_path) for _ in range(8)]
    barrier = threading.Barrier(8)

    def keep(cache: ConversionCache) -> None:
        barrier.wait()
        cache.keep("a", writes(b"weights"), whole)

    threads = [threading.Thread(target=keep, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["converted-a"]
    assert all(cache.read("a", read) == b"weights" for cache in caches)
