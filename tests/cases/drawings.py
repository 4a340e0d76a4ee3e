"""Images that the cases draw: round cells on a dark ground, and what happens to such images on their way to a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIAMETER = 22.0
"""Diameter of the cells of `cells`, pixels, on average."""


def cells(rows: int = 5, columns: int = 6, *, diameter: float = DIAMETER, seed: int = 0) -> NDArray[np.float64]:
    """Draws separate cells in rows and columns, a little out of line.

    Args:
        rows: Rows of cells.
        columns: Columns of cells.
        diameter: Mean diameter of a cell, pixels.
        seed: Decides places, shapes and noise.

    Returns:
        [Y, X], about 0 (ground) to 1 (brightest cell), with a soft edge and noise.
    """
    labels, depth, brightness = _places(rows, columns, diameter, seed)
    inside = 1 / (1 + np.exp(-4 * depth)) * np.append(0, brightness)[labels]
    ground = 0.03 + 0.01 * np.random.default_rng(seed + 1).standard_normal(labels.shape)
    return inside * 0.95 + ground


def labels_of(rows: int = 5, columns: int = 6, *, diameter: float = DIAMETER, seed: int = 0) -> NDArray[np.uint16]:
    """Returns the label image of `cells` with the same arguments, uint16 [Y, X]."""
    labels, depth, _ = _places(rows, columns, diameter, seed)
    return np.where(depth > 0, labels, 0).astype(np.uint16)


def _places(
    rows: int, columns: int, diameter: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Returns the number of the nearest cell, how deep inside of the cell a pixel is, and the cells' brightness."""
    rng, pitch = np.random.default_rng(seed), round(1.6 * diameter)
    y, x = np.mgrid[: rows * pitch, : columns * pitch]
    labels, deepest = np.zeros(y.shape, np.int64), np.full(y.shape, -np.inf)
    for number in range(rows * columns):
        centre = (np.array(divmod(number, columns)) + 0.5 + rng.uniform(-0.1, 0.1, 2)) * pitch
        long, angle = rng.uniform(1.0, 1.15), rng.uniform(0, np.pi)
        dy, dx = y - centre[0], x - centre[1]
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        depth = diameter / 2 - np.hypot(along / long, across * long)
        labels[depth > deepest] = number + 1
        deepest = np.maximum(deepest, depth)
    return labels, deepest, rng.uniform(0.55, 1, rows * columns)


def as_dtype(image: NDArray[np.float64], dtype: Any, *, low: float = 0, high: float = 1) -> NDArray[Any]:
    """Returns an image whose 0 and 1 became `low` and `high`, rounded and clipped for integers."""
    scaled = low + image * (high - low)
    if np.dtype(dtype).kind == "f":
        return scaled.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(scaled), limits.min, limits.max).astype(dtype)


CELLS = cells()
"""Thirty cells."""
COUNT = 30
U8 = as_dtype(CELLS, np.uint8, high=240)
U16 = as_dtype(CELLS, np.uint16, high=4000)
SMALL = as_dtype(cells(3, 3, seed=2), np.uint16, high=4000)
"""Nine cells."""
SMALL_COUNT = 9
SMALL_8 = as_dtype(cells(3, 3, seed=2), np.uint8, high=240)


def one_on_zero(side: int = 256, *, dtype: Any = np.uint8) -> NDArray[Any]:
    """Draws one cell of 12 px on exact zeros; less than a hundredth of the pixels belong to the cell."""
    y, x = np.mgrid[:side, :side]
    cell = np.exp(-((y - 80) ** 2 + (x - 150) ** 2) / (2 * 4.0**2))
    return as_dtype(np.where(cell > 0.02, cell, 0), dtype, high=190)


def giant(side: int = 200) -> NDArray[np.uint16]:
    """Draws one cell of 140 px."""
    y, x = np.mgrid[:side, :side]
    inside = 1 / (1 + np.exp(np.hypot(y - side * 0.45, x - side * 0.55) - 70))
    noise = 0.01 * np.random.default_rng(0).standard_normal(inside.shape)
    return as_dtype(inside * 0.95 + 0.03 + noise, np.uint16, high=3500)
