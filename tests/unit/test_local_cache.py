"""A cache folder that takes nothing is told in words before the work whose outcome it should keep."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from node import doctor
from node.config.reading import load_config
from node.storage.claim import check_cache
from policies.diffusion import digits_start
from policies.diffusion.settings import DigitsSource
from policies.local_cache import ROOM, require_room
from policies.policy import PolicyError
from policies.tasks import digit_scorers
from policies.text import embedded
from policies.text.settings import EmbeddedSettings

MAKERS = [
    (embedded, "warm_start", partial(embedded.load_embedded, EmbeddedSettings())),
    (digits_start, "start", partial(digits_start.load_digits_network, DigitsSource())),
    (digit_scorers, "_train", digit_scorers.reward_classifier),
]


def full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
    return folder


def below_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "file").touch()
    return folder / "file" / "cache"


@pytest.mark.parametrize("fault", [(full, "No space left on device"), (below_a_file, "Not a directory")])
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker[1])
def test_it_is_told_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    maker: tuple[object, str, Callable[[Path], object]],
    fault: tuple[Callable[[Path, pytest.MonkeyPatch], Path], str],
) -> None:
    module, work, make = maker
    monkeypatch.setattr(module, work, lambda *_: pytest.fail("it was made all the same"))
    cache = fault[0](tmp_path, monkeypatch)
    with pytest.raises(PolicyError) as told:
        make(cache)
    assert str(told.value).startswith(
        f"the cache folder {cache} cannot be written ({fault[1]}): free some space"
    )


@pytest.mark.parametrize("verb", ["demo", "silo"])
@pytest.mark.parametrize("words", [(), ("--policy", "digits")])
def test_the_first_run_is_refused_before_torch_is_imported(
    tmp_path: Path, verb: str, words: tuple[str, ...]
) -> None:
    """A cache that has weights already may be one that only others write."""
    (tmp_path / "file").touch()
    asked = [verb, *words] if verb == "demo" else [verb, "digits" if words else "tiny"]
    told = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    run = f"{told}; from node.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, *asked, "--run-dir", tmp_path / "run"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3 and done.stdout == "False\n", done
    assert done.stderr.startswith(f"murmur: the cache folder {tmp_path}/file/murmuration cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kept", ["embedded-1", "digits-1"])
def test_a_cache_that_keeps_such_a_network_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(full(tmp_path, monkeypatch)))
    (tmp_path / "murmuration" / kept).mkdir(parents=True)
    tiny, digits = load_config("tiny"), load_config("digits")
    same, other = (tiny, digits) if kept.startswith("embedded") else (digits, tiny)
    check_cache(same)
    with pytest.raises(PolicyError):
        check_cache(other)


def test_the_doctor_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert doctor.check_cache().state == "ok"
    full(tmp_path, monkeypatch)
    found = doctor.check_cache()
    assert found.state == "failure" and "No space left" in found.fact and "XDG_CACHE_HOME" in found.fix


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    require_room(tmp_path / "cache")
    assert ROOM > 2_400_000 and list((tmp_path / "cache").iterdir()) == []
