"""Convex hulls of objects in volumes, by Qhull."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from cellserve_contract.extras import naming_extra
from numpy.typing import NDArray

from .hulls import hull_side, lowest
from .runs import Runs

_TOLERANCE = 1e-10  # voxels; that of scikit-image
_CORNERS = np.concatenate([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])  # of a voxel, in half voxels


def volume_solidity(runs: Runs) -> NDArray[np.float64]:
    """Returns float64 [N], the voxels of each object divided by those of its convex hull.

    As in scikit-image, the hull is that of the middles of the faces of the voxels, and its volume is the number of
    voxels whose centres are in the hull or on its border.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    entry, points = _section_corners(runs)
    ends = np.searchsorted(entry, np.arange(len(runs.labels) + 1))
    volumes = [_hull_volume(points[first:end]) for first, end in itertools.pairwise(ends)]
    return runs.count() / np.asarray(volumes, np.float64)


def _section_corners(runs: Runs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the corners of the convex hull of each section of each object: [K], places of objects, and [K, 3]."""
    sections, section = np.unique(runs.entry * runs.shape[0] + runs.z, return_inverse=True)
    side = np.concatenate([section, section + len(sections)])
    side, y, x = hull_side(*lowest(side, np.tile(runs.y, 2), np.concatenate([runs.first, 1 - runs.end])))
    left = side < len(sections)
    entry, z = np.divmod(sections[np.where(left, side, side - len(sections))], runs.shape[0])
    order = np.argsort(entry, kind="stable")
    return entry[order], np.stack([z, y, np.where(left, x, -x)], axis=-1)[order]


def _hull_volume(points: NDArray[np.int64]) -> int:
    """Returns the number of voxels in the convex hull of voxels."""
    with naming_extra("The solidity of objects in volumes", "measurements"):
        from scipy.spatial import ConvexHull
    low, high = points.min(axis=0), points.max(axis=0)
    halves = 2 * (points - low)[:, np.newaxis] + _CORNERS + 1
    shape = tuple(2 * (high - low) + 3)
    distinct = np.unique(np.ravel_multi_index(tuple(halves.reshape(-1, 3).T), shape))
    corners = (np.stack(np.unravel_index(distinct, shape), axis=-1) - 1) / 2
    planes: NDArray[Any] = ConvexHull(corners).equations  # normal and offset: normal @ point + offset <= 0 inside
    forward, backward = planes[:, 2] > _TOLERANCE, planes[:, 2] < -_TOLERANCE
    along = ~(forward | backward)
    rows = np.arange(high[1] - low[1] + 1)
    volume = 0
    for z in range(high[0] - low[0] + 1):
        room = (_TOLERANCE - planes[:, 3] - planes[:, 0] * z)[:, np.newaxis] - planes[:, 1, np.newaxis] * rows
        last = np.floor((room[forward] / planes[forward, 2, np.newaxis]).min(axis=0))
        first = np.ceil((room[backward] / planes[backward, 2, np.newaxis]).max(axis=0))
        inside = (room[along] > 0).all(axis=0)
        volume += int(((last - first + 1).clip(0) * inside).sum())
    return volume
