"""Images and answers over the message limit: their bytes in pieces, each with its place and its checksum."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from cellserve_proto import v1 as pb

CHUNK_BYTES = 1 << 20
"""Most bytes of a chunk."""
LARGE_BYTES = 9 << 20
"""A client sends larger requests in chunks. Every server takes messages of this size: 2048 x 2048 px of 16 bits fit."""


class ChunkError(ValueError):
    """A chunk is not the next part of an array."""


class Assembly:
    """An array's bytes on their way in.

    Args:
        size: Bytes of the whole. None: unknown.
    """

    def __init__(self, size: int | None = None) -> None:
        self.data = bytearray()
        self._size = size

    def add(self, chunk: pb.Chunk, data: bytes | memoryview) -> None:
        """Appends a chunk.

        Args:
            chunk: The place and the checksum; its own data does not matter.
            data: The bytes of the chunk.

        Raises:
            ChunkError: The chunk does not continue the array, is too large, or is damaged.
        """
        if chunk.offset != len(self.data):
            raise ChunkError(f"a chunk starts at {chunk.offset:,}; {len(self.data):,} bytes are there")
        if not 0 < len(data) <= CHUNK_BYTES:
            raise ChunkError(f"a chunk has {len(data):,} bytes; allowed: 1 to {CHUNK_BYTES:,}")
        if self._size is not None and len(self.data) + len(data) > self._size:
            raise ChunkError(f"the chunks exceed the {self._size:,} bytes declared")
        if chunk.crc32 != zlib.crc32(data):
            raise ChunkError(f"the chunk at {chunk.offset:,} does not fit its checksum")
        self.data += data


def cut(data: bytes | bytearray | memoryview, start: int = 0) -> Iterator[tuple[pb.Chunk, memoryview]]:
    """Yields the chunks of an array: place and checksum, and the bytes, which are not copied.

    Args:
        data: The bytes of the array.
        start: First byte wanted.
    """
    whole = memoryview(data)
    for offset in range(start, len(whole), CHUNK_BYTES):
        piece = whole[offset : offset + CHUNK_BYTES]
        yield pb.Chunk(offset=offset, crc32=zlib.crc32(piece)), piece
