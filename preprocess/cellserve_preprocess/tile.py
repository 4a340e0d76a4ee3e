"""The grid of overlapping tiles the networks run on."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from cellserve_contract.params import ParameterError
from numpy.typing import NDArray

TILE = 224
"""Side of a tile in pixels: the size of the crops the networks were trained on."""

MARGIN = 8
"""Zeros around an image, in pixels: the networks see that it ends there (docs/decisions/0004)."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the tiles of an image lie. Tiles are numbered row by row.

    The image is framed by MARGIN zeros on each side, and by more below and on the right where it would still be
    smaller than a tile.

    Attributes:
        shape: (Y, X) of the image.
        starts_y: first row of each row of tiles, in the frame.
        starts_x: first column of each column of tiles, in the frame.
        augment: tiles of odd rows are flipped along X, those of odd columns along Y.
    """

    shape: tuple[int, int]
    starts_y: tuple[int, ...]
    starts_x: tuple[int, ...]
    augment: bool = False

    @classmethod
    def cover(cls, shape: tuple[int, int], overlap: float = 0.1, augment: bool = False) -> Self:
        """Lay the fewest tiles that cover an image with the given overlap.

        Args:
            shape: (Y, X) of the image, both at least 1.
            overlap: of neighbouring tiles, as a fraction of a tile, 0 to 0.5.
            augment: flip tiles by turns for test-time augmentation; the overlap is then one half and every axis gets
                two tiles or more, so that every pixel is seen in several orientations.

        Raises:
            ParameterError: the overlap is out of range.
        """
        if not 0 <= overlap <= 0.5:
            raise ParameterError("tile_overlap", overlap, "0 to 0.5")
        height, width = shape
        if height < 1 or width < 1:
            raise ValueError(f"an image of shape {shape} has no pixels")
        starts_y, starts_x = (_starts(length + 2 * MARGIN, overlap, augment) for length in shape)
        return cls((height, width), starts_y, starts_x, augment)

    @staticmethod
    def count(shape: tuple[int, int], overlap: float = 0.1, augment: bool = False) -> int:
        """Number of tiles that `cover` would lay, without laying them: it can be millions."""
        height, width = (_count(length + 2 * MARGIN, overlap, augment) for length in shape)
        return height * width

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.starts_y) * len(self.starts_x)

    @property
    def frame(self) -> tuple[int, int]:
        """(Y, X) of the framed image."""
        height, width = (max(length + 2 * MARGIN, TILE) for length in self.shape)
        return height, width

    def position(self, index: int) -> tuple[int, int]:
        """(row, column) of a tile in the grid."""
        return divmod(index, len(self.starts_x))

    def flips(self, index: int) -> tuple[bool, bool]:
        """Whether a tile is flipped along (Y, X)."""
        row, column = self.position(index)
        return self.augment and column % 2 == 1, self.augment and row % 2 == 1

    def cut(self, image: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
        """Cut the tiles `start` to `stop` (exclusive) out of an image.

        Args:
            image: float32 [C, Y, X] of this grid's shape.
            start, stop: 0 <= start <= stop <= len(self).

        Returns:
            A new C-contiguous float32 array [stop - start, C, 224, 224], zero outside the image.
        """
        if image.ndim != 3 or image.shape[1:] != self.shape:
            raise ValueError(f"the grid covers images [C, {self.shape[0]}, {self.shape[1]}], not shape {image.shape}")
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"the grid has tiles 0 to {len(self)}, not {start} to {stop}")
        tiles = np.empty((stop - start, image.shape[0], TILE, TILE), dtype=np.float32)
        for tile, index in zip(tiles, range(start, stop), strict=True):
            row, column = self.position(index)
            y, x = self.starts_y[row] - MARGIN, self.starts_x[column] - MARGIN
            part = image[:, max(y, 0) : y + TILE, max(x, 0) : x + TILE]
            if part.shape[1:] != (TILE, TILE):
                tile[:] = 0
            top, left = max(-y, 0), max(-x, 0)
            tile[:, top : top + part.shape[1], left : left + part.shape[2]] = part
            flip_y, flip_x = self.flips(index)
            if flip_y or flip_x:
                tile[:] = tile[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1].copy()
        return tiles


def _starts(length: int, overlap: float, augment: bool) -> tuple[int, ...]:
    starts = np.linspace(0, max(0, length - TILE), _count(length, overlap, augment)).astype(int)
    return tuple(starts.tolist())


def _count(length: int, overlap: float, augment: bool) -> int:
    if augment:
        return max(2, math.ceil(2 * length / TILE))
    return 1 if length <= TILE else math.ceil((1 + 2 * overlap) * length / TILE)
