"""The grid of overlapping tiles the networks run on."""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from cellserve_contract.params import ParameterError, TileMargin
from cellserve_contract.tiles import MARGIN, TILE
from numpy.typing import NDArray

CELLPOSE_MULTIPLE = 16
"""Cellpose 3.1 frames an image to a multiple of so many pixels, in the middle, and with half as many on each side."""

Margins = tuple[tuple[int, int], tuple[int, int]]
"""Zeros above and below an image, and on the left and on the right."""

Region = tuple[slice, slice]
"""Rows and columns of an image."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the tiles of an image lie, or some of them: a part of the grid. Tiles are numbered row by row.

    The image is framed by zeros on each side, and by more below and on the right where it would still be smaller than a
    tile.

    Attributes:
        shape: (Y, X) of the image.
        starts_y: first row of each row of tiles of the image, in the frame.
        starts_x: first column of each column of tiles of the image, in the frame.
        augment: tiles of odd rows are flipped along X, those of odd columns along Y.
        margins: zeros around the image; MARGIN on each side if left out.
        fills: networks see whole tiles, also where the framed image is smaller; if not, the part that it fills.
        rows: the rows of tiles of this part, a range of step 1; all if left out.
        columns: the columns of tiles of this part, likewise.
    """

    shape: tuple[int, int]
    starts_y: tuple[int, ...]
    starts_x: tuple[int, ...]
    augment: bool = False
    margins: Margins = ((MARGIN, MARGIN), (MARGIN, MARGIN))
    fills: bool = True
    rows: range = range(0)
    columns: range = range(0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows or range(len(self.starts_y)))
        object.__setattr__(self, "columns", self.columns or range(len(self.starts_x)))

    @classmethod
    def cover(
        cls, shape: tuple[int, int], overlap: float = 0.1, augment: bool = False, margin: TileMargin = "fixed"
    ) -> Self:
        """Lay the fewest tiles that cover an image with the given overlap.

        Args:
            shape: (Y, X) of the image, both at least 1.
            overlap: of neighbouring tiles, as a fraction of a tile, 0 to 0.5.
            augment: flip tiles by turns for test-time augmentation; the overlap is then one half and every axis gets
                two tiles or more, so that every pixel is seen in several orientations.
            margin: the rule of the zeros around the image.

        Raises:
            ParameterError: the overlap is out of range.
        """
        if not 0 <= overlap <= 0.5:
            raise ParameterError("tile_overlap", overlap, "0 to 0.5")
        height, width = shape
        if height < 1 or width < 1:
            raise ValueError(f"an image of shape {shape} has no pixels")
        margins = _margins(height, margin), _margins(width, margin)
        starts_y, starts_x = (
            _starts(length + sum(zeros), overlap, augment) for length, zeros in zip(shape, margins, strict=True)
        )
        return cls((height, width), starts_y, starts_x, augment, margins, augment or margin == "fixed")

    @staticmethod
    def count(shape: tuple[int, int], overlap: float = 0.1, augment: bool = False, margin: TileMargin = "fixed") -> int:
        """Number of tiles that `cover` would lay, without laying them: it can be millions."""
        height, width = (_count(length + sum(_margins(length, margin)), overlap, augment) for length in shape)
        return height * width

    def part(self, rows: range, columns: range) -> Self:
        """The tiles of some rows and columns of the grid.

        Args:
            rows, columns: ranges of step 1, not empty.

        Raises:
            ValueError: the grid has no such tiles.
        """
        for some, starts in ((rows, self.starts_y), (columns, self.starts_x)):
            if not some or some.step != 1 or some[0] < 0 or some[-1] >= len(starts):
                raise ValueError(f"a grid of {len(self.starts_y)} x {len(self.starts_x)} tiles has no part {some}")
        return replace(self, rows=rows, columns=columns)

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.rows) * len(self.columns)

    @property
    def frame(self) -> tuple[int, int]:
        """(Y, X) of the framed image."""
        height, width = (max(length + sum(zeros), TILE) for length, zeros in zip(self.shape, self.margins, strict=True))
        return height, width

    @property
    def sides(self) -> tuple[int, int]:
        """(Y, X) of the part of a tile that networks see, which begins at the first pixel of the tile."""
        if self.fills:
            return TILE, TILE
        height, width = (min(length + sum(zeros), TILE) for length, zeros in zip(self.shape, self.margins, strict=True))
        return height, width

    @property
    def extent(self) -> Region:
        """Rows and columns of the image that the tiles lie in: all of them unless the grid is a part."""
        return self._span(0, self.rows, self.starts_y), self._span(1, self.columns, self.starts_x)

    def _span(self, axis: int, some: range, starts: tuple[int, ...]) -> slice:
        length, zeros = self.shape[axis], self.margins[axis][0]
        first = 0 if some.start == 0 else max(0, starts[some[0]] - zeros)
        last = length if some.stop == len(starts) else min(length, starts[some[-1]] - zeros + TILE)
        return slice(first, last)

    def position(self, index: int) -> tuple[int, int]:
        """(row, column) of a tile in the grid of the whole image."""
        row, column = divmod(index, len(self.columns))
        return self.rows[row], self.columns[column]

    def corner(self, index: int) -> tuple[int, int]:
        """(y, x) of the first pixel of a tile in the image; it may lie outside."""
        row, column = self.position(index)
        return self.starts_y[row] - self.margins[0][0], self.starts_x[column] - self.margins[1][0]

    def flips(self, index: int) -> tuple[bool, bool]:
        """Whether a tile is flipped along (Y, X)."""
        row, column = self.position(index)
        return self.augment and column % 2 == 1, self.augment and row % 2 == 1

    def cut(self, image: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        """Cut the tiles `start` to `stop` (exclusive) out of an image.

        Args:
            image: float32 [C, y, x]: the extent of this grid in the image.
            start, stop: 0 <= start <= stop <= len(self).

        Returns:
            A new C-contiguous float32 array [stop - start, C, 224, 224], zero outside the image.
        """
        rows, columns = self.extent
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if image.ndim != 3 or image.shape[1:] != (height, width):
            raise ValueError(f"the grid covers images [C, {height}, {width}], not shape {image.shape}")
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"the grid has tiles 0 to {len(self)}, not {start} to {stop}")
        tiles = np.empty((stop - start, image.shape[0], TILE, TILE), dtype=np.float32)
        for tile, index in zip(tiles, range(start, stop), strict=True):
            y, x = self.corner(index)
            y, x = y - rows.start, x - columns.start
            part = image[:, max(y, 0) : y + TILE, max(x, 0) : x + TILE]
            if part.shape[1:] != (TILE, TILE):
                tile[:] = 0
            top, left = max(-y, 0), max(-x, 0)
            tile[:, top : top + part.shape[1], left : left + part.shape[2]] = part
            flip_y, flip_x = self.flips(index)
            if flip_y or flip_x:
                tile[:] = tile[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1].copy()
        return tiles


def _margins(length: int, margin: TileMargin) -> tuple[int, int]:
    """Zeros before and behind an axis of an image."""
    lacking = -length % CELLPOSE_MULTIPLE if margin == "cellpose3" else 0
    return MARGIN + lacking // 2, MARGIN + lacking - lacking // 2


def _starts(length: int, overlap: float, augment: bool) -> tuple[int, ...]:
    starts = np.linspace(0, max(0, length - TILE), _count(length, overlap, augment)).astype(int)
    return tuple(starts.tolist())


def _count(length: int, overlap: float, augment: bool) -> int:
    if augment:
        return max(2, math.ceil(2 * length / TILE))
    return 1 if length <= TILE else math.ceil((1 + 2 * overlap) * length / TILE)
