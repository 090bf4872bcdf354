"""Attack 13: mallory sends small bytes that ask for a lot of memory. Bar: 8 MiB of growth, process alive."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
import zstandard

from swarm.limits import MAX_BODY, MAX_BODY_RAW, MAX_BODY_ROLLOUTS, MAX_BODY_WINDOW, MAX_ROLLOUTS

ALLOWED_GROWTH = 8 * 2**20
ROOT = Path(__file__).parents[2]
MIB = bytes(2**20)

# Decodes a small honest body, then each file named, and prints how far memory peaked over where it was between.
VICTIM = """
import json, sys
from pathlib import Path
from swarm.wire.body_codec import decode_body
from swarm.errors import DecodeError

def memory(which):
    status = Path("/proc/self/status").read_text()
    return int(status.split(which)[1].split()[0]) * 1024

honest, *bombs = [Path(name).read_bytes() for name in sys.argv[1:]]
decode_body(honest)
before, refused = memory("VmRSS:"), 0
for bomb in bombs:
    try:
        decode_body(bomb)
    except DecodeError:
        refused += 1
print(json.dumps({"refused": refused, "growth": memory("VmHWM:") - before}))
"""


def frame(content: bytes, **options: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=3, write_checksum=1, **{"write_content_size": 1, **options}
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def long_frame(mebibytes: int, declared: int = -1, start: bytes = b"") -> bytes:
    """A frame of zeros after `start`, made piece by piece; `declared` bytes, or none for -1."""
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=3, write_checksum=1, write_content_size=int(declared >= 0)
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=declared)
    pieces = [compressor.compress(start), *(compressor.compress(MIB) for _ in range(mebibytes))]
    return b"".join([*pieces, compressor.flush()])


def understating(declared: int, content: bytes) -> bytes:
    """A frame whose header declares less than it holds."""
    wire = bytearray(frame(content))
    single_segment, width = wire[4] >> 5 & 1, {1: 2, 2: 4, 3: 8}[wire[4] >> 6]
    start = 5 + (1 - single_segment)
    wire[start : start + width] = declared.to_bytes(width, "little")
    return bytes(wire)


def up_to(field: int) -> bytes:
    """An honest body's bytes before the given one of its seven fields."""
    fields = [1, "s", "mallory", "tiny", 3, 1]
    return b"\x97" + b"".join(msgpack.packb(value) for value in fields[:field])


GROUP = msgpack.packb("addition@1") + msgpack.packb(7)
IN_GROUPS, IN_ROLLOUTS = up_to(6), up_to(6) + b"\x91\x93" + GROUP
IN_TEXT = IN_ROLLOUTS + b"\x91\x93"
LETTER = msgpack.packb(["a", "stop", 1.0])
IN_IMAGE = IN_ROLLOUTS + b"\x91\x94" + LETTER[1:]
FULL_GROUP = b"\x93" + GROUP + b"\xdc" + MAX_ROLLOUTS.to_bytes(2, "big") + LETTER * MAX_ROLLOUTS

BOMBS = {
    "sized, 1 GiB": lambda: long_frame(1024, declared=2**30),
    "unsized, 1 GiB": lambda: long_frame(1024),
    "zeros up to the limit": lambda: frame(bytes(MAX_BODY_RAW)),
    "zeros after a body's start": lambda: frame(IN_TEXT + bytes(MAX_BODY_RAW - len(IN_TEXT))),
    "declares less than it holds": lambda: understating(100_000, bytes(8 * 2**20)),
    "declares more than it holds": lambda: understating(MAX_BODY_RAW, b"\x97" + bytes(8 * 2**20)),
    "a second frame": lambda: frame(up_to(6)) + long_frame(1024),
    "window of 128 MiB": lambda: frame(bytes(MAX_BODY_RAW + 1), window_log=27),
    "window of 16 MiB": lambda: frame(bytes(2 * MAX_BODY_WINDOW), window_log=24),
    "over the wire limit": lambda: bytes(MAX_BODY + 1),
    "nested a million deep": lambda: frame(b"\x91" * 10**6),
    "nested in a text": lambda: frame(IN_TEXT + b"\x91" * 10**6),
    "nested maps": lambda: frame(IN_TEXT + b"\x81\xa1a" * 10**6),
    "millions of empty arrays": lambda: frame(IN_GROUPS + b"\xdd\x00\xff\xff\xff" + b"\x90" * (2**24 - 1024)),
    "empty arrays for rollouts": lambda: frame(IN_ROLLOUTS + b"\xdd\x00\xff\xff\xff" + b"\x90" * 2**23),
    "empty arrays for a text": lambda: frame(IN_TEXT + b"\xdd\x00\x03\xff\xff" + b"\x90" * 2**18),
    "array length that lies": lambda: frame(IN_GROUPS + b"\xdd\xff\xff\xff\xff"),
    "array length that lies in a text": lambda: frame(IN_TEXT + b"\xdd\xff\xff\xff\xff"),
    "map length that lies": lambda: frame(IN_TEXT + b"\xdf\xff\xff\xff\xff"),
    "text length that lies": lambda: frame(IN_TEXT + b"\xdb\xff\xff\xff\xff"),
    "bytes length that lies": lambda: frame(IN_TEXT + b"\xc6\xff\xff\xff\xff"),
    "extension length that lies": lambda: frame(IN_TEXT + b"\xc9\xff\xff\xff\xff\x01"),
    "a text of 15 MiB": lambda: frame(IN_TEXT + b"\xdb\x00\xf0\x00\x00" + b"x" * (15 * 2**20)),
    "bytes of 15 MiB": lambda: frame(IN_TEXT + b"\xc6\x00\xf0\x00\x00" + bytes(15 * 2**20)),
    "an image of 15 MiB": lambda: frame(IN_IMAGE + b"\xc6\x00\xf0\x00\x00" + bytes(15 * 2**20)),
    "image length that lies": lambda: frame(IN_IMAGE + b"\xc6\xff\xff\xff\xff"),
    "one-letter rollouts": lambda: frame(
        IN_GROUPS + b"\xdc\x01\x00" + FULL_GROUP * (MAX_BODY_ROLLOUTS // MAX_ROLLOUTS + 1)
    ),
}


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    path = tmp_path / "honest"
    path.write_bytes(frame(IN_TEXT + LETTER[1:]))
    return path


def attack(honest: Path, bombs: list[Path]) -> dict[str, int]:
    command = [sys.executable, "-c", VICTIM, str(honest), *map(str, bombs)]
    victim = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert victim.returncode == 0, victim.stderr
    return json.loads(victim.stdout)


def test_all_bombs_together_are_refused_in_little_memory(honest: Path, tmp_path: Path) -> None:
    paths = []
    for number, build in enumerate(BOMBS.values()):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(build())
    outcome = attack(honest, paths)
    assert outcome["refused"] == len(BOMBS)
    assert outcome["growth"] <= ALLOWED_GROWTH


def test_the_measurement_sees_a_decoder_that_unpacks_first(honest: Path, tmp_path: Path) -> None:
    """Without this, a peak that is not measured would pass as one that did not rise."""
    big = tmp_path / "big"
    big.write_bytes(bytes(64 * 2**20))
    naive = VICTIM.replace("        decode_body(bomb)", "        list(bomb); decode_body(b'')")
    command = [sys.executable, "-c", naive, str(honest), str(big)]
    victim = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(victim.stdout)["growth"] > 32 * ALLOWED_GROWTH
