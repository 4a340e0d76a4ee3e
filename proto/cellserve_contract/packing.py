"""Pixels as bytes, for messages of any protocol: element types, and zlib streams of known length."""

from __future__ import annotations

import zlib

import numpy as np

IMAGE_DTYPES = tuple(np.dtype(name) for name in ("u1", "<u2", "<u4", "<i2", "<f4", "<f8"))
"""Element types that images may have."""


class PackingError(ValueError):
    """The bytes are not the zlib stream that was announced."""


def inflate(data: bytes | memoryview, size: int) -> bytes:
    """Unpacks a zlib stream, at most one byte more than expected, so that a bomb stays small.

    Args:
        data: The stream.
        size: Bytes expected.

    Returns:
        The bytes; one more than expected if the stream goes on.

    Raises:
        PackingError: Not a zlib stream, cut off, or followed by other bytes.
    """
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise PackingError(f"the bytes are no zlib stream: {error}") from error
    if len(unpacked) == size and (not stream.eof or stream.unused_data):
        raise PackingError("the zlib stream is cut off, or followed by other bytes")
    return unpacked
