"""Perimeters of objects in a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIAGONAL = np.sqrt(2)
_BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))
_ACROSS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
# Length that a border pixel stands for, by its neighbours on the border: beside it (row), across from it (column).
_LENGTHS = np.zeros((5, 5))
_LENGTHS[2:4, :3] = 1
_LENGTHS[0, 2] = _LENGTHS[1, 3] = _DIAGONAL
_LENGTHS[1, 1:3] = (1 + _DIAGONAL) / 2


def perimeters(labels: NDArray[np.integer[Any]], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measures perimeters as scikit-image's `perimeter` does, in pixels.

    The perimeter is the length of a line through the centres of the border pixels. A pixel is on the border if one of
    the four pixels beside it is not of its object.

    Args:
        labels: [Z, Y, X]; each object lies in one plane.
        numbers: int64 [N], labels of the objects, ascending.

    Returns:
        float64 [N].
    """
    framed = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    middle = framed[:, 1:-1, 1:-1]
    inside = middle != 0
    for dy, dx in _BESIDE:
        inside &= middle == _shifted(framed, dy, dx)
    border = np.where(inside, 0, middle)
    z, y, x = np.nonzero(border)
    values = border[z, y, x]
    framed[:, 1:-1, 1:-1] = border
    beside, across = (
        sum((framed[z, y + 1 + dy, x + 1 + dx] == values).astype(np.intp) for dy, dx in steps)
        for steps in (_BESIDE, _ACROSS)
    )
    lengths = np.bincount(np.searchsorted(numbers, values), _LENGTHS[beside, across], len(numbers))
    return lengths.astype(np.float64, copy=False)  # bincount of nothing is whole numbers


def _shifted(framed: NDArray[Any], dy: int, dx: int) -> NDArray[Any]:
    rows, columns = framed.shape[1] - 2, framed.shape[2] - 2
    return framed[:, 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
