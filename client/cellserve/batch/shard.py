"""Shards: the parts of a batch that several processes work on at the same time."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

MAX_COUNT = 100_000
"""Most shards of a batch. A Job of Kubernetes has no more indexes."""

_WRITTEN = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a batch.

    The shard of an image follows from the image's name and the number of shards alone. New images therefore do not move
    other images to another shard. Another number of shards does.

    Attributes:
        index: Number of the shard, from 0 to count - 1.
        count: Number of shards of the batch.

    Raises:
        ValueError: There is no such shard.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        """Refuses a shard that does not exist."""
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"shard {self}: a batch has 1 to {MAX_COUNT:,} shards")
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard {self} does not exist: the shards are numbered from 0 to {self.count - 1}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a shard as it is written: index and count, such as "3/10".

        Raises:
            ValueError: The text is no shard; the message says why.
        """
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError(f"{text[:40]!r} is no shard: write I/N, such as 3/10, for number I (from 0) of N shards")
        return cls(int(written[1]), int(written[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def folder(self) -> str:
        """Name of the shard's own folder. In order of names, shards stand in order of numbers."""
        return f"shard-{self.index:05}-of-{self.count:05}"

    def holds(self, name: str) -> bool:
        """Tells whether an image belongs to this shard. Of all shards of a batch, exactly one holds a name.

        Args:
            name: The image's path relative to the input, with "/" between folders. Any text will do, such as the name
                of a file that is no Unicode.
        """
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index
