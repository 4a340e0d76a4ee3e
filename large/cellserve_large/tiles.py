"""Which tiles of an image go to the networks at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_preprocess import Region, Sections, TileGrid
from numpy.typing import NDArray

from .store import Store

MOST_TILES = 16
"""Most tiles of a block: their sums fit into one message of a server with the default limits."""


@dataclass(frozen=True, slots=True)
class TileBlocks:
    """Blocks of tiles: some rows and columns of the grid, in some consecutive sections.

    Blocks are numbered by sections, then rows, then columns.

    Attributes:
        grid: The tiles of one section.
        sections: The sections of each block along the stack.
        rows: The rows of tiles of each block down the grid.
        columns: The columns of tiles of each block across the grid.
    """

    grid: TileGrid
    sections: tuple[range, ...]
    rows: tuple[range, ...]
    columns: tuple[range, ...]

    @classmethod
    def of(cls, sections: Sections, params: SegmentParams) -> Self:
        """Returns blocks of about equal sides, as large as the limits allow."""
        grid = sections.grid(params)
        height, width = len(grid.starts_y), len(grid.starts_x)
        rows = min(height, max(math.isqrt(MOST_TILES), MOST_TILES // width))
        columns = min(width, MOST_TILES // rows)
        depth = MOST_TILES // (rows * columns)
        return cls(grid, _cut(sections.count, depth), _cut(height, rows), _cut(width, columns))

    def __len__(self) -> int:
        """Number of blocks."""
        return math.prod(self._counts)

    @property
    def _counts(self) -> tuple[int, ...]:
        return len(self.sections), len(self.rows), len(self.columns)

    def part(self, block: int) -> tuple[range, TileGrid]:
        """Returns the sections of a block and its tiles in each of them."""
        depth, row, column = (int(place) for place in np.unravel_index(block, self._counts))
        return self.sections[depth], self.grid.part(self.rows[row], self.columns[column])

    def read(self, store: Store, stage: str, sections: range, region: Region) -> NDArray[np.int32]:
        """Returns the sums of a region of some sections, int32 [N, 3, rows, columns]: those of all tiles of the image.

        Args:
            store: Has the sums of each block.
            stage: Of the sums.
            sections: Consecutive sections.
            region: Rows and columns of the scaled sections.
        """
        rows, columns = region
        sums = np.zeros((len(sections), 3, rows.stop - rows.start, columns.stop - columns.start), np.int32)
        wanted = slice(sections.start, sections.stop), rows, columns
        for block, held in self._near(wanted):
            place, source = [], []
            for part, own in zip(held, wanted, strict=True):
                first, last = max(part.start, own.start), min(part.stop, own.stop)
                place.append(slice(first - own.start, last - own.start))
                source.append(slice(first - part.start, last - part.start))
            for index in (place, source):
                index.insert(1, slice(None))
            sums[tuple(place)] += store.map(stage, block, "sums")[tuple(source)]
        return sums

    def near(self, sections: range, region: Region) -> list[int]:
        """Returns the blocks whose sums are needed for a region of some sections."""
        return [block for block, _ in self._near((slice(sections.start, sections.stop), *region))]

    def _near(self, wanted: tuple[slice, slice, slice]) -> Iterator[tuple[int, list[slice]]]:
        """Yields the blocks that share something with some sections, rows and columns, and what each holds."""
        every = range(len(self.grid.starts_y)), range(len(self.grid.starts_x))
        down = [(at, self.grid.part(some, every[1]).extent[0]) for at, some in enumerate(self.rows)]
        across = [(at, self.grid.part(every[0], some).extent[1]) for at, some in enumerate(self.columns)]
        along = [(at, slice(some.start, some.stop)) for at, some in enumerate(self.sections)]
        near = (_overlapping(parts, own) for parts, own in zip((along, down, across), wanted, strict=True))
        for held in itertools.product(*near):
            yield int(np.ravel_multi_index([at for at, _ in held], self._counts)), [part for _, part in held]


def _overlapping(parts: list[tuple[int, slice]], wanted: slice) -> list[tuple[int, slice]]:
    """Returns the parts of an axis, with their numbers, that share something with a wanted one."""
    return [(at, part) for at, part in parts if part.start < wanted.stop and wanted.start < part.stop]


def _cut(count: int, most: int) -> tuple[range, ...]:
    """Returns consecutive ranges of about equal lengths, at most `most`, that cover so many."""
    parts = -(-count // most)
    return tuple(range(count * part // parts, count * (part + 1) // parts) for part in range(parts))
