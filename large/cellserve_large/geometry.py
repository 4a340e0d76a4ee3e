"""Boxes of an image, and the grid of blocks that covers an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A box of pixels: from `start` to `stop`, exclusive, along each axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Self:
        """Returns the box of a whole image."""
        return cls((0,) * len(shape), tuple(shape))

    @classmethod
    def around(cls, boxes: NDArray[np.integer]) -> Self:
        """Returns the smallest box around boxes, integers [n, 2 * axes] as of `measure_extents`; n is not zero."""
        axes = boxes.shape[1] // 2
        return cls(tuple(boxes[:, :axes].min(axis=0).tolist()), tuple(boxes[:, axes:].max(axis=0).tolist()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(last - first for first, last in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index of the box in the array of the image."""
        return tuple(slice(first, last) for first, last in zip(self.start, self.stop, strict=True))

    def span(self, axis: int) -> tuple[int, int]:
        """Returns the first pixel and the end (exclusive) along an axis."""
        return self.start[axis], self.stop[axis]

    def grown(self, by: int, shape: Sequence[int]) -> Box:
        """Returns the box with so many more pixels on each side, as far as an image of that shape goes."""
        return Box(
            tuple(max(0, first - by) for first in self.start),
            tuple(min(last + by, length) for last, length in zip(self.stop, shape, strict=True)),
        )

    def common(self, other: Box) -> Box:
        """Returns what two boxes share; they must share something."""
        return Box(
            tuple(max(pair) for pair in zip(self.start, other.start, strict=True)),
            tuple(min(pair) for pair in zip(self.stop, other.stop, strict=True)),
        )

    def within(self, other: Box) -> tuple[slice, ...]:
        """Returns the index of this box in the array of another box, which contains this one."""
        return tuple(
            slice(first - origin, last - origin)
            for first, last, origin in zip(self.start, self.stop, other.start, strict=True)
        )

    def contains(self, coordinates: tuple[NDArray[np.integer], ...]) -> NDArray[np.bool_]:
        """Returns which positions, given along each axis, lie in the box."""
        inside: NDArray[np.bool_] = np.ones(coordinates[0].shape, np.bool_)
        for axis, first, last in zip(coordinates, self.start, self.stop, strict=True):
            inside &= (axis >= first) & (axis < last)
        return inside

    def to_image(self, positions: NDArray[np.integer], shape: Sequence[int]) -> NDArray[np.int64]:
        """Returns flat indices in the image of that shape, int64, for flat indices in the array of the box."""
        coordinates = np.unravel_index(positions, self.shape)
        moved = tuple(axis + first for axis, first in zip(coordinates, self.start, strict=True))
        return np.ravel_multi_index(moved, tuple(shape)).astype(np.int64, copy=False)

    def from_image(self, positions: NDArray[np.int64], shape: Sequence[int]) -> NDArray[np.int64]:
        """Returns flat indices in the array of the box for those of an image of that shape; -1 for those outside."""
        coordinates = np.unravel_index(positions, tuple(shape))
        inside = self.contains(coordinates)
        result = np.full(positions.shape, -1, np.int64)
        moved = tuple(axis[inside] - first for axis, first in zip(coordinates, self.start, strict=True))
        result[inside] = np.ravel_multi_index(moved, self.shape)
        return result


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks that cover an image. Blocks are numbered in row-major order.

    Attributes:
        edges: along each axis the first pixel of every block and, last, the length of the image.
    """

    edges: tuple[tuple[int, ...], ...]

    @classmethod
    def regular(cls, shape: Sequence[int], side: int) -> Self:
        """Returns blocks of that side; those at the far ends of the axes may be smaller."""
        return cls(tuple((*range(0, length, side), length) for length in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return tuple(edges[-1] for edges in self.edges)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(len(edges) - 1 for edges in self.edges)

    def __len__(self) -> int:
        """Number of blocks."""
        return math.prod(self.counts)

    def box(self, block: int) -> Box:
        """Returns the box of a block."""
        places = np.unravel_index(block, self.counts)
        return Box(
            tuple(edges[place] for edges, place in zip(self.edges, places, strict=True)),
            tuple(edges[place + 1] for edges, place in zip(self.edges, places, strict=True)),
        )

    def overlapping(self, box: Box) -> list[int]:
        """Returns the blocks that share pixels with a box, in ascending order."""
        ranges = []
        for edges, first, last in zip(self.edges, box.start, box.stop, strict=True):
            if first >= last:
                return []
            low, high = np.searchsorted(edges, [first, last - 1], "right") - 1
            ranges.append(range(int(low), int(high) + 1))
        return [int(np.ravel_multi_index(places, self.counts)) for places in itertools.product(*ranges)]

    def blocks_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the block of each position, given as flat indices of the image."""
        coordinates: Any = np.unravel_index(positions, self.shape)
        return self.blocks_at(coordinates)

    def blocks_at(self, coordinates: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
        """Returns the block of each position, given along each axis."""
        places = [np.searchsorted(e, axis, "right") - 1 for e, axis in zip(self.edges, coordinates, strict=True)]
        return np.ravel_multi_index(tuple(places), self.counts).astype(np.int64, copy=False)

    def sampled(self, shape: Sequence[int]) -> Grid:
        """Returns the grid of a label image of another shape, whose pixels are read at their centres.

        A pixel of the label image lies in the block of the pixel of the image that holds its centre.
        """
        return Grid(
            tuple(
                (*np.searchsorted(centres(edges[-1], length), edges[:-1]).tolist(), length)
                for edges, length in zip(self.edges, shape, strict=True)
            )
        )


def centres(own: int, length: int) -> NDArray[np.int64]:
    """Returns the pixels, of `own` along an axis, that hold the centres of `length` pixels laid over them."""
    return (2 * np.arange(length, dtype=np.int64) + 1) * own // (2 * length)
