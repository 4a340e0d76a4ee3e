"""Volumes from the label images of their planes (paper, "Stitching 2D segmentations into 3D objects")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.params import MaskRules
from numpy.typing import NDArray

from ._arrays import kernel_labels
from ._stitching import join, scan, settle

STITCH_THRESHOLD = 0.25
"""Objects of consecutive planes are linked at this intersection over union (paper)."""


def stitch(
    labels: Iterable[NDArray[Any]],
    threshold: float = STITCH_THRESHOLD,
    rules: MaskRules = "paper",
    min_size: int = 0,
    min_volume_fraction: float = 0.0,
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Stitches label images of consecutive planes to a volume. `Stitcher` does so without holding the volume.

    Args:
        labels: Integers [Z, Y, X], or planes [Y, X] one after the other.
        threshold: As `Stitcher`.
        rules: As `Stitcher`.
        min_size: As `Stitcher.finish`.
        min_volume_fraction: As `Stitcher.finish`.

    Returns:
        Labels [Z, Y, X], 0 is background, 1..N in raster order of the first voxels; uint16 up to 65,535 objects.

    Raises:
        ValueError: There are no planes, their shapes differ, or an argument is out of range.
    """
    planes = list(labels)
    if not planes:
        raise ValueError("a volume has at least one plane")
    stitcher = Stitcher(threshold, rules)
    for plane in planes:
        stitcher.add(plane)
    stitched = stitcher.finish(min_size, min_volume_fraction)
    volume: NDArray[np.uint16] | NDArray[np.uint32] = np.empty((len(planes), *planes[0].shape), stitched.dtype)
    for z, plane in enumerate(planes):
        volume[z] = stitched.relabel(z, plane)
    return volume


class Stitcher:
    """Links the objects of planes that come one after the other.

    Between two planes the stitcher keeps the label image of the last one, and 24 bytes per 2-D object of all planes.
    Callers keep the planes elsewhere and give each its final numbers in a second pass, by `Stitched.relabel`.

    An empty plane ends all objects: nothing is linked across a gap.
    """

    def __init__(self, threshold: float = STITCH_THRESHOLD, rules: MaskRules = "paper") -> None:
        """Begins a volume.

        Args:
            threshold: Objects of consecutive planes with at least this intersection over union are linked; above 0, at
                most 1.
            rules: "paper": objects of the volume are the connected components of all links. Two objects of a plane are
                one if both are linked to the same object of a neighbouring plane. "cellpose3", as `stitch3D` of
                Cellpose 3.1: an object goes on in the most similar object of the next plane only. An object in which
                several go on is linked to the most similar of them only. One thing differs: behind an empty plane
                Cellpose can give a new object the number of an earlier one; these rules give a new number.

        Raises:
            ValueError: The threshold is out of range.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"an IoU threshold is above 0 and at most 1, not {threshold}")
        self._threshold = threshold
        self._rules = rules
        self._last: NDArray[np.int32] | None = None
        self._starts = [0, 0]  # of the last plane and of the next one, in the arrays below; earlier planes' before
        self._parents, self._areas, self._firsts = (np.empty(0, np.int64) for _ in range(3))

    def add(self, labels: NDArray[Any]) -> None:
        """Takes the next plane.

        Args:
            labels: Integers [Y, X], 0 is background; numbers may have gaps, for which memory is used as for objects.

        Raises:
            ValueError: The plane has other axes or another shape than those before, no integers, negative numbers, or
                numbers above its number of pixels.
        """
        if labels.ndim != 2:
            raise ValueError(f"a plane has two axes, not shape {labels.shape}")
        plane = kernel_labels(labels)
        count = int(plane.max(initial=0))
        if plane.min(initial=0) < 0 or count > plane.size:
            raise ValueError(f"objects of a plane of {plane.size} pixels have numbers from 1 to {plane.size} at most")
        last = np.zeros_like(plane) if self._last is None else self._last
        if plane.shape != last.shape:
            raise ValueError(f"planes of shapes {last.shape} and {plane.shape} are not of one volume")
        areas, firsts, runs = scan(last, plane, count)
        below, start = self._starts[-2:]
        self._reserve(start + count)
        own = slice(start, start + count)
        self._parents[own] = np.arange(start, start + count)
        self._areas[own] = areas
        self._firsts[own] = firsts
        if len(runs):
            pairs, shared = _pairs(runs, count)
            pairs += below - 1, start - 1
            iou = shared / (self._areas[pairs].sum(axis=1) - shared)
            join(self._parents, *self._links(pairs, iou).T.copy())
        self._starts.append(start + count)
        self._last = plane if plane is not labels else plane.copy()

    def finish(self, min_size: int = 0, min_volume_fraction: float = 0.0) -> Stitched:
        """Numbers the objects of the volume.

        Args:
            min_size: Objects of fewer voxels are dropped. A lower bound for the sections in the planes would drop the
                tips of objects, too.
            min_volume_fraction: Objects below this share of the median volume are dropped (paper: 10 %). The median is
                that of the objects that `min_size` leaves.
        """
        end = self._starts[-1]
        settle(self._parents[:end])
        roots = self._parents[:end]
        volumes = np.bincount(roots, self._areas[:end], end).astype(np.int64)
        kept = volumes >= max(1, min_size)
        if kept.any():
            kept &= volumes >= min_volume_fraction * np.median(volumes[kept])
        # Roots lie in the first planes of their objects. There the first voxel of an object is that of any member.
        starts = np.array(self._starts[1:])
        planes = np.searchsorted(starts, np.arange(end), side="right")
        earliest = np.full(end, np.iinfo(np.int64).max)
        begins = (planes == planes[roots]) & (self._firsts[:end] >= 0)
        np.minimum.at(earliest, roots[begins], self._firsts[:end][begins])
        order = np.lexsort((earliest, planes))
        order = order[kept[order]]
        numbers = np.zeros(end, np.int64)
        numbers[order] = np.arange(1, len(order) + 1)
        return Stitched(numbers[roots].astype(np.uint32), starts, volumes[order])

    def _links(self, pairs: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
        """Chooses the pairs to link: int64 [L, 2] of members [P, 2] of the planes below and above."""
        linked = iou >= self._threshold
        pairs, iou = pairs[linked], iou[linked]
        if self._rules == "paper":
            return pairs
        best = np.zeros(self._starts[-1] - self._starts[-2])
        np.maximum.at(best, pairs[:, 0] - self._starts[-2], iou)
        linked = iou == best[pairs[:, 0] - self._starts[-2]]
        pairs, iou = pairs[linked], iou[linked]
        # By object above, then by falling IoU, then by the number in the volume: the first of each object is its best.
        order = np.lexsort((self._parents[pairs[:, 0]], -iou, pairs[:, 1]))
        _, first = np.unique(pairs[order, 1], return_index=True)
        chosen: NDArray[np.int64] = pairs[order[first]]
        return chosen

    def _reserve(self, length: int) -> None:
        """Makes the arrays of all 2-D objects so long, at least; doubles them where they are too short."""
        if length > len(self._parents):
            size = max(length, 2 * len(self._parents))
            self._parents, self._areas, self._firsts = (
                np.concatenate([array, np.empty(size - len(array), np.int64)])
                for array in (self._parents, self._areas, self._firsts)
            )


@dataclass(frozen=True, slots=True, eq=False)
class Stitched:
    """The objects of a volume.

    Attributes:
        numbers: uint32 [M], for each 2-D object the object of the volume; 0 if it was dropped. Planes follow each
            other, objects of a plane are in the order of their numbers.
        starts: int64 [Z + 1], where each plane begins in `numbers`.
        volumes: int64 [N], voxels of each object.
    """

    numbers: NDArray[np.uint32]
    starts: NDArray[np.int64]
    volumes: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of objects of the volume."""
        return len(self.volumes)

    @property
    def dtype(self) -> type[np.uint16 | np.uint32]:
        """The shortest type that holds the labels of the volume."""
        return np.uint16 if len(self) <= np.iinfo(np.uint16).max else np.uint32

    def relabel(self, z: int, labels: NDArray[Any]) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """Gives a plane the numbers of the volume.

        Args:
            z: The plane, zero-based.
            labels: Integers [Y, X], as given to `Stitcher.add`.

        Returns:
            A new array [Y, X] of `dtype`: uint16 if the volume has at most 65,535 objects.
        """
        table = np.zeros(self.starts[z + 1] - self.starts[z] + 1, self.dtype)
        table[1:] = self.numbers[self.starts[z] : self.starts[z + 1]]
        relabelled: NDArray[np.uint16] | NDArray[np.uint32] = table[labels]
        return relabelled


def _pairs(runs: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Adds up runs [R, 3] of `scan`: int64 [P, 2] numbers below and above, int64 [P] pixels that they share."""
    codes = runs[:, 0].astype(np.int64) * (count + 1) + runs[:, 1]
    order = np.argsort(codes)
    codes = codes[order]
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    shared = np.add.reduceat(runs[order, 2].astype(np.int64), begins)
    return np.stack(np.divmod(codes[begins], count + 1), axis=1), shared
