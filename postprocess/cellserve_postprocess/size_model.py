"""The size model: from the style of an image to the diameter of its objects (paper, "Test time resizing").

Everything the fit and the service must do alike is here: which tiles of an image are looked at, how their styles become
one, and the formula.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from cellserve_contract.model_card import SizeModelNumbers
from cellserve_contract.params import RecoveryParams
from cellserve_preprocess import TileGrid
from numpy.typing import NDArray

from ._arrays import kernel_labels
from .masks import Recovered
from .objects import measure_extents

STYLE_TILES = 64
"""Most tiles whose styles are averaged: more would not change the mean, and an image can have thousands."""

SMALLEST_DIAMETER = 5.0
"""In pixels; no estimate is below (as in Cellpose)."""

LARGEST_DIAMETER = 10_000.0
"""In pixels; no estimate is above: the largest diameter a request can state."""


@dataclass(frozen=True, slots=True)
class SizeModel(SizeModelNumbers):
    """A linear model of the logarithm of the diameter, as model.json holds it."""

    @classmethod
    def of(cls, numbers: SizeModelNumbers) -> Self:
        """Returns the size model that a model.json describes."""
        return cls(numbers.coefficients, numbers.style_mean, numbers.log_diameter_mean, numbers.diam_mean)

    def diameter(self, style: NDArray[np.float32]) -> float:
        """Predicts the median diameter of the objects of an image, in pixels.

        Args:
            style: float [256], of unit length: `image_style` of the image's tiles at its own scale.
        """
        logarithm = float(np.dot(self.coefficients, np.subtract(style, self.style_mean)))
        logarithm += math.log(self.diam_mean) + self.log_diameter_mean
        return bounded_diameter(math.exp(min(logarithm, math.log(LARGEST_DIAMETER))))


def bounded_diameter(diameter: float) -> float:
    """An estimated diameter, moved into the range of estimates, in pixels."""
    return min(max(diameter, SMALLEST_DIAMETER), LARGEST_DIAMETER)


def style_grid(shape: tuple[int, int], most: int = STYLE_TILES) -> TileGrid:
    """Lay the tiles whose styles make the style of an image: side by side, at most `most` of them.

    Where side by side they would be more, whole rows and columns of tiles are left out, evenly.

    Args:
        shape: (Y, X) of the image.
        most: at least 1.
    """
    grid = TileGrid.cover(shape, overlap=0.0)
    rows = min(len(grid.starts_y), max(math.isqrt(most), most // len(grid.starts_x)))
    columns = min(len(grid.starts_x), most // rows)
    return TileGrid(grid.shape, _evenly(grid.starts_y, rows), _evenly(grid.starts_x, columns))


def image_style(styles: NDArray[np.float32]) -> NDArray[np.float32]:
    """The style of an image: the mean of its tiles' styles, scaled to unit length.

    Args:
        styles: float32 [n, 256], n at least one.

    Returns:
        float32 [256].
    """
    mean: NDArray[np.float32] = styles.mean(axis=0, dtype=np.float32)
    return mean / np.float32(max(float(np.linalg.norm(mean)), 1e-12))


def explained_share(recovered: Recovered, logit: NDArray[np.float32], params: RecoveryParams) -> float:
    """Share of the foreground that the objects explain, 0 to 1; 0 without foreground.

    Foreground are the pixels above the probability threshold. A pixel of an object counts 1 if the object has no flow
    error, and 0 if its flow error is at the threshold. At a wrong scale, much of the foreground belongs to no object,
    or to objects with large flow errors.

    Args:
        recovered: what `recover_masks` found with these parameters.
        logit: float32 [Y, X], logit of the cell probability.
        params: with a flow threshold above 0.
    """
    params = params.resolved(logit.ndim)
    assert params.cellprob_threshold is not None  # resolved
    assert params.flow_threshold is not None
    foreground = np.count_nonzero(logit > params.cellprob_threshold)
    areas, _ = measure_extents(kernel_labels(recovered.labels), len(recovered.flow_errors))
    weights = 1 - recovered.flow_errors / params.flow_threshold
    return min(1.0, float((areas * weights).sum()) / foreground) if foreground else 0.0


def _evenly(starts: tuple[int, ...], count: int) -> tuple[int, ...]:
    """`count` of them: the middle ones of equal stretches."""
    return tuple(starts[(2 * index + 1) * len(starts) // (2 * count)] for index in range(count))
