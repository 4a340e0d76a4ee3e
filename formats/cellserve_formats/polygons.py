"""Outlines of objects as polygons along the edges of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed line, the first one not repeated at the end."""


def trace_polygons(labels: NDArray[Any]) -> Iterator[tuple[int, list[list[Ring]]]]:
    """Traces the objects of a label image along the edges of their pixels.

    The first pixel of the image has the corners (0, 0) and (1, 1). The area of a polygon is the number of its pixels.

    Args:
        labels: Unsigned integers [Y, X], 0 is background.

    Yields:
        Label and polygons of each object, in the order of labels: one polygon per piece, each a list of its outer ring
        and the rings of its holes. Rings are simple: pixels that meet in a corner only belong to different rings.
    """
    width = labels.shape[1] + 1
    owners, starts, ends = _edges(labels, width)
    order = np.argsort(owners, kind="stable")
    numbers, firsts = np.unique(owners[order], return_index=True)
    starts, ends = starts[order], ends[order]
    bounds = [*firsts.tolist(), len(order)]
    for number, first, last in zip(numbers.tolist(), bounds, bounds[1:], strict=False):
        rings = list(_rings(starts[first:last].tolist(), ends[first:last].tolist(), width))
        yield number, _polygons(rings)


def ring_area(ring: Ring) -> float:
    """Returns the area within a ring; negative for a hole."""
    following = [*ring[1:], ring[0]]
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(ring, following, strict=True)) / 2


def _edges(labels: NDArray[Any], width: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Returns owner, start and end of every edge between a pixel and another label, the owner on its right.

    Corners are numbered row by row, `width` to a row.
    """
    padded = np.pad(labels, 1)
    owners, starts, ends = [], [], []

    def add(owner: NDArray[Any], other: NDArray[Any], start: tuple[int, int], end: tuple[int, int]) -> None:
        y, x = np.nonzero((owner != other) & (owner > 0))
        owners.append(owner[y, x])
        starts.append((y + start[0]) * width + x + start[1])
        ends.append((y + end[0]) * width + x + end[1])

    inside = padded[1:-1, 1:-1]
    add(inside, padded[:-2, 1:-1], (0, 0), (0, 1))  # upper edge, to the right
    add(inside, padded[1:-1, 2:], (0, 1), (1, 1))  # right edge, down
    add(inside, padded[2:, 1:-1], (1, 1), (1, 0))  # lower edge, to the left
    add(inside, padded[1:-1, :-2], (1, 0), (0, 0))  # left edge, up
    return np.concatenate(owners), np.concatenate(starts), np.concatenate(ends)


def _rings(starts: list[int], ends: list[int], width: int) -> Iterator[Ring]:
    """Joins the edges of one object to simple rings."""
    following: dict[int, list[int]] = {}
    for start, end in zip(starts, ends, strict=True):
        following.setdefault(start, []).append(end)
    for start in starts:
        path, places = [start], {start: 0}
        while following.get(path[-1]):
            corner = following[path[-1]].pop()
            if corner in places:  # a ring is closed; what led to it remains
                at = places[corner]
                yield _corners(path[at:], width)
                for left in path[at + 1 :]:
                    del places[left]
                del path[at + 1 :]
            else:
                places[corner] = len(path)
                path.append(corner)


def _corners(path: list[int], width: int) -> Ring:
    """Returns the points of a ring where its direction changes."""
    points = [(corner % width, corner // width) for corner in path]
    before, after = [points[-1], *points[:-1]], [*points[1:], points[0]]
    return [
        here
        for last, here, then in zip(before, points, after, strict=True)
        if last[0] != then[0] and last[1] != then[1]
    ]


def _polygons(rings: list[Ring]) -> list[list[Ring]]:
    """Sorts the rings of one object into polygons, each hole into the outer ring around it."""
    polygons = [[ring] for ring in rings if ring_area(ring) > 0]
    for hole in (ring for ring in rings if ring_area(ring) < 0):
        # The smallest ring around the hole: pieces can lie in holes of others.
        around = [polygon for polygon in polygons if len(polygons) == 1 or _contains(polygon[0], hole)]
        min(around, key=lambda polygon: ring_area(polygon[0])).append(hole)
    return polygons


def _contains(ring: Ring, hole: Ring) -> bool:
    """Tells whether a ring encloses a hole, by the pixel inside the object at the hole's first corner."""
    (x, y), (next_x, next_y) = hole[0], hole[1]
    # The object lies on the right of the hole's first edge: a point half a pixel to the right of its first half.
    along_x, along_y = np.sign(next_x - x), np.sign(next_y - y)
    px, py = x + along_x / 2 - along_y / 2, y + along_y / 2 + along_x / 2
    inside = False
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if x1 == x2 and (y1 > py) != (y2 > py) and x1 > px:
            inside = not inside
    return inside
