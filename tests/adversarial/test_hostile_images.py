"""Mallory's images: bombs, metadata, cut and altered files. What comes through is pixels within bounds, or nothing."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import MALLORY, NODE, SWARM, ManualClock, body_of, encode, offer
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery import Brightness, grey, photo
from PIL import Image as pillow
from PIL.PngImagePlugin import PngInfo

from policies.rollout import Finish, Image, Problem
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import MAX_REFUSALS, RolloutVerifier
from swarm.errors import DecodeError
from swarm.limits import MAX_BODY_PIXELS, MAX_IMAGE, MAX_IMAGE_SIDE
from swarm.wire import images
from swarm.wire.body import SharedGroup, SharedRollout

PNG, WEBP = images.encode(grey(100)), images.encode(photo(96, 80))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int,
    height: int,
    pixels: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    extra: bytes = b"",
    lace: int = 0,
    behind: bytes = b"",
    keep: int | None = None,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace)
    body = chunk(b"IDAT", zlib.compress(pixels, 9)[:keep] + behind)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def saved(form: str, **options: object) -> bytes:
    out = io.BytesIO()
    pillow.new("RGB", (80, 80), (10, 200, 30)).save(out, form, **options)
    return out.getvalue()


def with_note() -> PngInfo:
    info = PngInfo()
    info.add_text("prompt", "a secret")
    return info


ROWS = b"\0" + bytes(8)  # one row of eight grey pixels, unfiltered

HOSTILE = {
    "empty": b"",
    "text": b"<svg onload=alert(1)>",
    "over the limit": PNG + bytes(MAX_IMAGE),
    "png: a mebi-pixel side": png(2**20, 1, bytes(2**20 + 1)),
    "png: declares 4 giga-pixels": png(65_500, 65_500, ROWS * 8),
    "png: no pixels": png(0, 8, b""),
    "png: declares more than it holds": png(64, 64, ROWS),
    "png: two pixel chunks": png(8, 8, ROWS * 8, extra=chunk(b"IDAT", b"")),
    "png: a row too many": png(8, 8, ROWS * 9),
    "png: a row too few": png(8, 8, ROWS * 7),
    "png: a note behind its pixels": png(8, 8, ROWS * 8 + b"secret"),
    "png: a note behind its zlib stream": png(8, 8, ROWS * 8, behind=b"secret"),
    "png: a zlib stream that does not end": png(8, 8, ROWS * 8, keep=-4),
    "png: a filter that there is not": png(8, 8, (b"\7" + bytes(8)) * 8),
    "png: interlaced": png(8, 8, ROWS * 8, lace=1),
    "png: palette": png(8, 8, ROWS * 8, colour=3),
    "png: sixteen bits": png(8, 8, (b"\0" + bytes(16)) * 8, depth=16),
    "png: text chunk": png(8, 8, ROWS * 8, extra=chunk(b"tEXt", b"prompt\0secret")),
    "png: compressed text bomb": png(
        8, 8, ROWS * 8, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**24), 9))
    ),
    "png: private chunk": png(8, 8, ROWS * 8, extra=chunk(b"muRm", b"x")),
    "png: animated": png(8, 8, ROWS * 8, extra=chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "png: something after its end": PNG + b"PK\x03\x04",
    "png: a second image after its end": PNG + PNG,
    "png: a wrong checksum": PNG[:-20] + bytes([PNG[-20] ^ 1]) + PNG[-19:],
    "png: cut": PNG[:-30],
    "png: metadata by Pillow": saved("PNG", pnginfo=with_note()),
    "webp: exif": saved("WEBP", exif=b"Exif\0\0II*\0secret"),
    "webp: xmp": saved("WEBP", xmp=b"<x>secret</x>"),
    "webp: lossless": saved("WEBP", lossless=True),
    "webp: cut": WEBP[:-30],
    "webp: something after its end": WEBP + b"PK\x03\x04",
    "webp: larger dimensions than its data": WEBP[:26] + struct.pack("<HH", 1000, 1000) + WEBP[30:],
    "webp: a side over the limit": WEBP[:26] + struct.pack("<HH", 0x3FFF, 0x3FFF) + WEBP[30:],
    "jpeg": saved("JPEG"),
    "gif": saved("GIF"),
    "tiff": saved("TIFF"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_a_bare_image_within_bounds_is_refused(name: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        images.decode(HOSTILE[name])
    assert "secret" not in str(refusal.value)


def test_the_bare_png_of_these_tests_is_taken() -> None:
    """Else the refusals above could have any cause."""
    assert images.decode(png(8, 8, ROWS * 8)) == Image(8, 8, 1, bytes(64))


# Reads each file as an image and prints how far memory peaked over where it was after honest ones.
VICTIM = """
import sys
from pathlib import Path
from swarm.errors import DecodeError
from swarm.wire import images

def memory(which):
    return int(Path("/proc/self/status").read_text().split(which)[1].split()[0]) * 1024

png, webp, *bombs = [Path(name).read_bytes() for name in sys.argv[1:]]
images.decode(png), images.decode(webp)
before = memory("VmRSS:")
for bomb in bombs:
    try:
        assert len(images.decode(bomb).pixels) == 64
    except DecodeError:
        pass
print(memory("VmHWM:") - before)
"""


def test_images_that_inflate_beyond_their_pixels_take_little_memory(tmp_path: Path) -> None:
    bombs = [PNG, WEBP, png(8, 8, ROWS * 8 + bytes(2**28)), *HOSTILE.values()]
    paths = [tmp_path / str(number) for number in range(len(bombs))]
    for path, bomb in zip(paths, bombs, strict=True):
        path.write_bytes(bomb)
    command = [sys.executable, "-c", VICTIM, *map(str, paths)]
    root = Path(__file__).parents[2]
    victim = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert victim.returncode == 0, victim.stderr
    assert int(victim.stdout) <= 8 * 2**20


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_random_bytes_are_never_more_than_refused(data: bytes) -> None:
    for start in (b"", PNG[:8], PNG[:33], WEBP[:20], WEBP[:30]):
        bounded(start + data)


@settings(max_examples=300)
@given(st.sampled_from([PNG, WEBP]), st.data())
def test_altered_images_are_pixels_or_refused(good: bytes, data: st.DataObject) -> None:
    altered = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        altered[place] = data.draw(st.integers(0, 255))
    bounded(bytes(altered))


@settings(max_examples=300)
@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0, 2, 3, 4, 6]), st.binary(max_size=120))
def test_pngs_with_right_checksums_are_their_pixels_or_refused(
    width: int, height: int, colour: int, pixels: bytes
) -> None:
    """Alterations above fail at a checksum; here what is inside is arbitrary and the checksums are right."""
    bounded(png(width, height, pixels, colour=colour))
    whole = png(width, height, (b"\0" + pixels[:width].ljust(width, b"x")) * height)
    if width and height:
        assert images.decode(whole) == Image(width, height, 1, pixels[:width].ljust(width, b"x") * height)


FLAT = io.BytesIO()
pillow.new("RGB", (MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), (9, 9, 9)).save(FLAT, "WEBP", quality=10)


def test_a_body_of_many_large_flat_images_is_opened_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.6 kB that would take 3 GiB."""
    opened: list[int] = []
    honest = images.decode
    monkeypatch.setattr(images, "decode", lambda data: opened.append(len(data)) or honest(data))
    rollouts = tuple(SharedRollout("", Finish.STOP, claim, FLAT.getvalue()) for claim in (0.0, 0.5, 0.5, 1.0))
    groups = [SharedGroup(Brightness.name, seed, rollouts) for seed in range(256)]
    announcement, wire = offer(body_of(groups, MALLORY))
    assert len(wire) < 2000
    keeper = RolloutVerifier(SWARM, NODE, {Brightness.name: Flat()}, encode, ManualClock())
    verdicts = [verdict for verdict, _ in keeper.verify(announcement, wire)]
    taken = MAX_BODY_PIXELS // (4 * 3 * MAX_IMAGE_SIDE**2)
    refused = [Reason.IMAGE] * MAX_REFUSALS + [Reason.WASTE]
    assert [verdict.reason for verdict in verdicts] == [None] * taken + refused
    assert len(opened) == 4 * taken


class Flat(Brightness):
    """Without a look at the pixels: three million of them are slow to add up in Python."""

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        return [
            place / len(images) for place in range(len(images))
        ]  # something to learn from: it pays for itself


def bounded(data: bytes) -> None:
    try:
        image = images.decode(data)
    except DecodeError:
        return
    assert 0 < min(image.width, image.height) <= max(image.width, image.height) <= MAX_IMAGE_SIDE
    assert len(image.pixels) == image.width * image.height * image.channels
