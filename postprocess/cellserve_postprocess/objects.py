"""What is measured of every object."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import as_rows, as_volume, kernel_floats, kernel_labels
from ._labels import extents, moments

PLANE = [1, 2, 4, 5]
"""Columns of the box of an object of a volume that are its box in the plane."""


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """One row per object, in the order of labels.

    Attributes:
        label: uint32 [N], value in the label image.
        bbox: int32 [N, 4], (y_min, x_min, y_max, x_max), half open; of a volume [N, 6], (z_min, y_min, x_min, z_max,
            y_max, x_max).
        centroid: float32 [N, 2], mean (y, x) of the pixels; of a volume [N, 3], mean (z, y, x) of the voxels.
        area: int64 [N], number of pixels or voxels.
        equivalent_diameter_area: float32 [N], diameter of the disc of equal area, or of the ball of equal volume, in
            pixels or voxels.
        mean_probability: float32 [N], mean cell probability of the pixels, 0 to 1.
        flow_error: float32 [N], as `Recovered.flow_errors`.
    """

    label: NDArray[np.uint32]
    bbox: NDArray[np.int32]
    centroid: NDArray[np.float32]
    area: NDArray[np.int64]
    equivalent_diameter_area: NDArray[np.float32]
    mean_probability: NDArray[np.float32]
    flow_error: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.label)

    @classmethod
    def empty(cls, axes: int = 2) -> Self:
        """Returns a table without objects, of an image of so many axes."""
        floats = np.empty(0, np.float32)
        return cls(
            label=np.empty(0, np.uint32),
            bbox=np.empty((0, 2 * axes), np.int32),
            centroid=np.empty((0, axes), np.float32),
            area=np.empty(0, np.int64),
            equivalent_diameter_area=floats,
            mean_probability=floats,
            flow_error=floats,
        )


def measure_objects(
    labels: NDArray[Any],
    logit: NDArray[np.float32],
    flow_errors: NDArray[np.float32],
    threads: ThreadGroup | None = None,
) -> ObjectTable:
    """Measure every object of a label image.

    Args:
        labels: integers [Y, X] or [Z, Y, X], 0 is background; objects are numbered 1..N without gaps.
        logit: float32 of the same shape, logit of the cell probability.
        flow_errors: float32 [N].
        threads: threads that share the work; the calling thread alone if left out.

    Raises:
        WorkCancelledError: the work was cancelled.
        ValueError: the arrays do not fit each other, or a number is missing.
    """
    objects = kernel_labels(labels)
    count = len(flow_errors)
    if logit.shape != objects.shape or int(objects.max(initial=0)) != count:
        raise ValueError(f"labels {objects.shape} do not fit a logit of shape {logit.shape} and {count} flow errors")
    threads = threads or ThreadGroup()
    area, bbox = measure_extents(objects, count, threads)
    if not area.all():
        raise ValueError("objects must be numbered without gaps")
    volume, heights = as_volume(objects), as_volume(kernel_floats(logit))
    parts = _slabs(as_rows(objects).shape)
    sums = np.sum(threads.each(lambda part: moments(volume, heights, count, *part), parts), axis=0)
    means = (sums / area[:, np.newaxis]).astype(np.float32)
    return ObjectTable(
        label=np.arange(1, count + 1, dtype=np.uint32),
        bbox=bbox,
        centroid=means[:, 3 - objects.ndim : 3],
        area=area,
        equivalent_diameter_area=equivalent_diameter(area, objects.ndim),
        mean_probability=means[:, 3],
        flow_error=np.asarray(flow_errors, dtype=np.float32),
    )


def measure_extents(
    labels: NDArray[np.int32], count: int, threads: ThreadGroup | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas (volumes) and bounding boxes of the objects 1..count.

    Args:
        labels: int32 [Y, X] or [Z, Y, X].
        count: highest number.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        int64 [N]; int32 [N, 4] or [N, 6], as `ObjectTable.bbox`, zeros where a number is not in use.
    """
    areas, boxes = volume_extents(as_volume(labels), count, threads or ThreadGroup())
    return areas, boxes if labels.ndim == 3 else np.ascontiguousarray(boxes[:, PLANE])


def volume_extents(
    labels: NDArray[np.int32], count: int, threads: ThreadGroup
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Volumes and bounding boxes of the objects 1..count of labels [Z, Y, X], as the kernel `extents` returns them."""
    found = threads.each(lambda part: extents(labels, count, *part), _slabs(as_rows(labels).shape))
    areas, boxes = found[0]
    for more_areas, more_boxes in found[1:]:
        begun, ended = areas == 0, more_areas == 0
        joined = np.concatenate(
            [np.minimum(boxes[:, :3], more_boxes[:, :3]), np.maximum(boxes[:, 3:], more_boxes[:, 3:])], axis=1
        )
        boxes = np.where(begun[:, np.newaxis], more_boxes, np.where(ended[:, np.newaxis], boxes, joined))
        areas = areas + more_areas
    return areas, boxes


def median_diameter(labels: NDArray[Any]) -> float:
    """Median diameter of the objects of a label image, in pixels (voxels); 0 where there are none.

    Args:
        labels: integers [Y, X] or [Z, Y, X], 0 is background; numbers may have gaps.
    """
    objects = kernel_labels(labels)
    areas, _ = measure_extents(objects, int(objects.max(initial=0)))
    present = areas[areas > 0]
    return float(np.median(equivalent_diameter(present, objects.ndim))) if present.size else 0.0


def equivalent_diameter(area: NDArray[np.int64], axes: int) -> NDArray[np.float32]:
    """Diameter of the disc of these areas, or of the ball of these volumes."""
    return (2 * np.sqrt(area / np.pi) if axes == 2 else np.cbrt(6 / np.pi * area)).astype(np.float32)


def _slabs(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows in a few parts only: each has a table of all objects."""
    return bands(shape, max(1 << 20, shape[0] * shape[1] // 16)) or [(0, 0)]
