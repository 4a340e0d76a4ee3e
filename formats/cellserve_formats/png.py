"""Pictures as PNG files."""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from .encoded import PNG_SIGNATURE
from .files import write_bytes
from .image import PixelSize

PHYSICAL = struct.Struct(">IIB")
"""Content of the chunk pHYs: pixels per unit along X, along Y, the unit."""
METRE = 1
"""The unit of pHYs."""
_LEVEL = 6
_HEADER_BYTES = len(PNG_SIGNATURE) + 25  # with IHDR, the first chunk
_MICROMETRES_PER_METRE = 1e6
_MOST_PER_METRE = (1 << 31) - 1


def png_bytes(pixels: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns a PNG file.

    Args:
        pixels: uint8 or uint16, [Y, X] or [Y, X, 3].
        pixel_size: Written as pixels per metre, whole numbers; None writes none.
    """
    # A copy, because the encoder refuses contiguous arrays whose axes of length one have odd strides.
    data = bytes(imagecodecs.png_encode(pixels.copy(), level=_LEVEL))
    if pixel_size is None:
        return data
    x, y = (round(min(_MICROMETRES_PER_METRE / size, _MOST_PER_METRE)) for size in (pixel_size.x, pixel_size.y))
    return data[:_HEADER_BYTES] + png_chunk(b"pHYs", PHYSICAL.pack(x, y, METRE)) + data[_HEADER_BYTES:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: str | os.PathLike[str], pixels: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes a PNG file; arguments as in `png_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, png_bytes(pixels, pixel_size))
