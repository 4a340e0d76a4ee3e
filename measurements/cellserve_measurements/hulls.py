"""Convex hulls of objects in a plane, and the share of them that the objects fill.

As in scikit-image, a pixel is the square whose corners are the middles of its edges: the hull is that of these corners,
and its area is the number of pixels whose centres are in the hull or on its border. All coordinates are doubled, so
that they are whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .runs import Runs


def plane_solidity(runs: Runs) -> NDArray[np.float64]:
    """Returns float64 [N], the pixels of each object divided by those of its convex hull.

    Args:
        runs: Objects each of which lies in one plane.
    """
    objects = len(runs.labels)
    # Sides of objects: the first columns, then the last columns with their signs changed.
    side = np.concatenate([runs.entry, runs.entry + objects])
    y = 2 * np.tile(runs.y, 2)
    x = 2 * np.concatenate([runs.first, 1 - runs.end])
    corners = np.tile(side, 3), np.concatenate([y - 1, y, y + 1]), np.concatenate([x, x - 1, x])
    side, y, x = hull_side(*lowest(*corners))
    # The edges from corner to corner, and the rows that they pass.
    edge = np.flatnonzero(side[1:] == side[:-1])
    dy, dx = y[edge + 1] - y[edge], x[edge + 1] - x[edge]
    first_row = -(-y[edge] // 2)
    rows = -(-y[edge + 1] // 2) - first_row
    of_row = np.repeat(np.arange(len(edge)), rows)
    row = first_row[of_row] + np.arange(len(of_row)) - np.repeat(np.cumsum(rows) - rows, rows)
    edge, dy, dx = edge[of_row], dy[of_row], dx[of_row]
    bound = -(-(x[edge] * dy + dx * (2 * row - y[edge])) // (2 * dy))  # the first column inside, rounded up
    # The columns from `bound` to `-bound` of the other side: their number is 1 - bound - bound. Each side counts half.
    area = np.bincount(side[edge] % objects, 0.5 - bound, objects) if objects else np.empty(0)
    return runs.count() / area


def lowest(
    side: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the smallest x of each row of each side, in the order of the sides and their rows.

    Args:
        side: Numbers of sides.
        y: Rows, of any sign.
        x: Positions in the rows.
    """
    order = np.lexsort((y, side))
    side, y, x = side[order], y[order], x[order]
    new = np.ones(len(side), bool)
    new[1:] = (side[1:] != side[:-1]) | (y[1:] != y[:-1])
    place = np.flatnonzero(new)
    return side[new], y[new], np.minimum.reduceat(x, place) if len(place) else x


def hull_side(*points: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Returns the points that are corners of the convex hull of their side.

    A point is none if it is not below the line between two others. All such points between their neighbours are dropped
    at once, until there are none. Corners are below all lines, so that they stay.

    Args:
        points: Side, y and x; each side has its rows in order, and one point in a row. Below is towards smaller x.
    """
    done = []
    while points[0].size:
        side, y, x = points
        drop = np.zeros(len(side), bool)
        ahead = (x[1:-1] - x[:-2]) * (y[2:] - y[1:-1])
        beyond = (x[2:] - x[1:-1]) * (y[1:-1] - y[:-2])
        drop[1:-1] = (ahead >= beyond) & (side[:-2] == side[2:])
        unfinished = np.isin(side, side[drop], kind="table")
        done.append([values[~unfinished] for values in points])
        points = tuple(values[unfinished & ~drop] for values in points)
    if not done:
        return points
    gathered = [np.concatenate(values) for values in zip(*done, strict=True)]
    order = np.lexsort(gathered[1::-1])
    return tuple(values[order] for values in gathered)
