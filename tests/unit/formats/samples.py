"""Image files made for the tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (20, 30), np.uint16)
COLOUR = RNG.integers(0, 256, (20, 30, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (20, 30), np.uint8)


def tiff(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def palette_png(indices: np.ndarray, colours: np.ndarray, transparent: bytes = b"", *, depth: int = 8) -> bytes:
    """A PNG file of indices of `depth` bits into a palette of RGB colours."""
    height, width = indices.shape
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0))
    alpha = png_chunk(b"tRNS", transparent) if transparent else b""
    bits = np.unpackbits(indices.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    pixels = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + header + png_chunk(b"PLTE", colours.astype(np.uint8).tobytes()) + alpha + pixels


def png_header(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    return PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def patched_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian classic TIFF with another value, a single number, in a tag of its first page."""
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for at in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            return data[: at + 2] + struct.pack("<HII", 4, 1, value) + data[at + 12 :]
    raise AssertionError(f"no tag {tag}")


def small_tiff(pixels: bytes, height: int, width: int, **tags: int | list[int]) -> bytes:
    """A classic TIFF of one strip with the given tags; for what tifffile does not write, such as 4 bits per sample."""
    values = {
        "ImageWidth": width,
        "ImageLength": height,
        "Compression": 1,
        "SamplesPerPixel": 1,
        "RowsPerStrip": height,
        "StripByteCounts": len(pixels),
        "StripOffsets": 8,
        **tags,
    }
    entries = {
        tifffile.TIFF.TAGS[name]: value if isinstance(value, list) else [value] for name, value in values.items()
    }
    behind = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    directory, long_values = struct.pack("<H", len(entries)), b""
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(packed) > 4:
            directory += struct.pack("<HHII", tag, 3, len(numbers), behind + len(long_values))
            long_values += packed
        else:
            directory += struct.pack("<HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0) + long_values


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF data that state an orientation."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return start + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
