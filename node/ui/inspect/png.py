"""Images as PNG files (RFC 2083), written from their pixels alone: to look at one needs no extra."""

from __future__ import annotations

import struct
import zlib

from policies.rollout import Image

_COLOURS = {1: 0, 3: 2}  # channels: colour type


def png_of(image: Image) -> bytes:
    """A PNG of 8 bits a channel, grey or RGB."""
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, _COLOURS[image.channels], 0, 0, 0)
    row = image.width * image.channels
    rows = (image.pixels[start : start + row] for start in range(0, len(image.pixels), row))
    packed = zlib.compress(b"".join(b"\x00" + each for each in rows))  # each row behind its filter, none
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
