"""Freed memory goes back to the machine between the phases of a round."""

from __future__ import annotations

import platform

import psutil
import pytest
import torch

from policies.text.heap import trim

CPU = torch.device("cpu")


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or cannot"
)
def test_what_was_freed_in_pieces_goes_back() -> None:
    """Every tenth piece is still held, so that nothing lies free at the end, where the library would give it back."""
    pieces = [torch.ones(2**14) for _ in range(3000)]
    held = pieces[::10]
    del pieces
    resident = psutil.Process().memory_info().rss
    trim(CPU)
    assert resident - psutil.Process().memory_info().rss > 0.7 * 2700 * 2**16
    assert all(bool((piece == 1).all()) for piece in held)


def test_another_device_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "policies.text.heap._malloc_trim", lambda: pytest.fail("a GPU's memory is not the C library's")
    )
    trim(torch.device("cuda"))
