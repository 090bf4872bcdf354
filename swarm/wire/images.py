"""Images as they travel: PNG for small ones, lossy WebP for the rest, made from pixels alone.

So no metadata ever leaves a node. What comes in is read by ourselves down to its dimensions, in the one form that
`encode` writes, before Pillow sees a byte of it: a chunk that has no business there is a refusal.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from policies.rollout import Image
from swarm.errors import DecodeError
from swarm.limits import MAX_IMAGE, MAX_IMAGE_SIDE

# Up to so many pixels an image travels without loss. An 8 x 8 digit takes 123 bytes and 0.1 ms to read.
_LOSSLESS_PIXELS = 64 * 64
# Of WebP: a smooth 512 x 512 photo takes 39 kB and 6 ms to read, 1,024 x 1,024 126 kB and 23 ms.
_QUALITY = 90

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = slice(8 + 25 + 8, -(4 + 12))  # what the pixel chunk of a PNG of three chunks holds
_PNG_COLOURS = {0: 1, 2: 3}  # colour type: channels
_MODES = {1: "L", 3: "RGB"}


def fits(image: Image) -> bool:
    """Whether peers take images of its dimensions."""
    return min(image.width, image.height) > 0 and max(image.width, image.height) <= MAX_IMAGE_SIDE


def encode(image: Image) -> bytes:
    """The image in a file format, for sending; peers take those of at most MAX_IMAGE bytes."""
    from PIL import Image as pillow  # an extra: nodes that train on text have no use for it

    opened = pillow.frombytes(_MODES[image.channels], (image.width, image.height), image.pixels)
    out = io.BytesIO()
    if image.width * image.height <= _LOSSLESS_PIXELS:
        opened.save(out, "PNG", optimize=True)
    else:
        opened.convert("RGB").save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()


def decode(data: bytes) -> Image:
    """The image in untrusted bytes. Raises DecodeError, with a message free of the sender's bytes."""
    width, height, channels = dimensions(data)
    if data.startswith(_PNG):
        _check_inflated(data[_PNG_PIXELS], height * (1 + width * channels))
    opened = _read_pixels(data, "PNG" if data.startswith(_PNG) else "WEBP")
    if opened.size != (width, height) or opened.mode != _MODES[channels]:
        raise DecodeError("image is not what its header says")
    return Image(width, height, channels, opened.tobytes())


def content_digest(image: Image, packed: bytes) -> str:
    """What a copy has in common with its original: the pixels where they travel without loss, else the file.

    A WebP that is packed anew has other pixels anyway, so that decoding one's own would tell no more copies apart.
    """
    return hashlib.sha256(image.pixels if packed.startswith(_PNG) else packed).hexdigest()


def dimensions(data: bytes) -> tuple[int, int, int]:
    """Width, height and channels within bounds, as the header of untrusted bytes declares. Raises DecodeError.

    Nothing is decompressed and Pillow is not asked: microseconds.
    """
    if len(data) > MAX_IMAGE:
        raise DecodeError(f"image of {len(data)} bytes, the limit is {MAX_IMAGE}")
    width, height, channels = _png_size(data) if data.startswith(_PNG) else _webp_size(data)
    if not min(width, height) > 0 or max(width, height) > MAX_IMAGE_SIDE:
        raise DecodeError(f"image of {width} x {height}, the limit is {MAX_IMAGE_SIDE} a side")
    return width, height, channels


def _read_pixels(data: bytes, form: str) -> Any:
    """A Pillow image in memory. The dimensions are known to be small by now."""
    from PIL import Image as pillow

    try:
        opened = pillow.open(io.BytesIO(data), formats=(form,))
        opened.load()
    except (OSError, ValueError, SyntaxError, EOFError, pillow.DecompressionBombError) as error:
        raise DecodeError(f"image does not decode ({type(error).__name__})") from error
    return opened


def _png_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and channels of a PNG of eight bits a channel that holds its header, pixels and end alone."""
    # The pixels in one chunk, as `encode` writes them: 43,000 empty ones would cost as many steps.
    chunks = list(islice(_png_chunks(data), 4))
    if [kind for kind, _ in chunks] != [b"IHDR", b"IDAT", b"IEND"]:
        raise DecodeError("PNG with other chunks than header, pixels and end")
    if len(chunks[0][1]) != 13 or chunks[-1][1]:
        raise DecodeError("PNG with a header or end of the wrong length")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or colour not in _PNG_COLOURS or any(rest):
        raise DecodeError("PNG of another kind than eight bits a channel, grey or RGB, not interlaced")
    return width, height, _PNG_COLOURS[colour]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk; Pillow checks their checksums."""
    place = len(_PNG)
    while place < len(data):
        if place + 12 > len(data):
            raise DecodeError("PNG is cut off")
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        if end > len(data):
            raise DecodeError("PNG is cut off")
        yield data[place + 4 : place + 8], data[place + 8 : end - 4]
        place = end


def _check_inflated(packed: bytes, size: int) -> None:
    """Raises DecodeError unless a PNG's pixel data are one whole zlib stream of just so many bytes.

    Pillow stops at the last row: what lies behind it would go unseen.
    """
    inflater = zlib.decompressobj()
    try:
        inflated = len(inflater.decompress(packed, size + 1))
    except zlib.error as error:
        raise DecodeError("PNG whose pixels do not inflate") from error
    if inflated != size or not inflater.eof or inflater.unused_data:
        raise DecodeError("PNG with more, or less, than its pixels")


def _webp_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and channels of a simple lossy WebP: one VP8 key frame and nothing beside it."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8 ":
        raise DecodeError("image is neither a PNG nor a simple lossy WebP")
    whole, frame = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 16)[0]
    if whole != len(data) - 8 or frame + (frame & 1) != len(data) - 20:
        raise DecodeError("WebP with more, or less, than one frame")
    if data[20] & 1 or data[23:26] != b"\x9d\x01\x2a":
        raise DecodeError("WebP without a key frame")
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF, 3
