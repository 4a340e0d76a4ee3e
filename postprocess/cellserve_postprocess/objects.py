"""What is measured of every object."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import kernel_floats, kernel_labels
from ._labels import extents, moments


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """One row per object, in the order of labels.

    Attributes:
        label: uint32 [N], value in the label image.
        bbox: int32 [N, 4], (y_min, x_min, y_max, x_max), half open.
        centroid: float32 [N, 2], mean (y, x) of the pixels.
        area: int64 [N], number of pixels.
        equivalent_diameter_area: float32 [N], diameter of the disk of equal area, in pixels.
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
    def empty(cls) -> Self:
        """Returns a table without objects."""
        floats = np.empty(0, np.float32)
        return cls(
            label=np.empty(0, np.uint32),
            bbox=np.empty((0, 4), np.int32),
            centroid=np.empty((0, 2), np.float32),
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
        labels: integers [Y, X], 0 is background; objects are numbered 1..N without gaps.
        logit: float32 [Y, X], logit of the cell probability.
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
    area, bbox = measure_extents(objects, count, threads)
    if not area.all():
        raise ValueError("objects must be numbered without gaps")
    heights = kernel_floats(logit)
    sums = np.sum(
        (threads or ThreadGroup()).each(lambda rows: moments(objects, heights, count, *rows), _slabs(labels.shape)),
        axis=0,
    )
    means = (sums / area[:, np.newaxis]).astype(np.float32)
    return ObjectTable(
        label=np.arange(1, count + 1, dtype=np.uint32),
        bbox=bbox,
        centroid=means[:, :2],
        area=area,
        equivalent_diameter_area=_diameter(area),
        mean_probability=means[:, 2],
        flow_error=np.asarray(flow_errors, dtype=np.float32),
    )


def measure_extents(
    labels: NDArray[np.int32], count: int, threads: ThreadGroup | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas and bounding boxes of the objects 1..count, as the kernel `extents` returns them."""
    found = (threads or ThreadGroup()).each(lambda rows: extents(labels, count, *rows), _slabs(labels.shape))
    areas, boxes = found[0]
    for more_areas, more_boxes in found[1:]:
        begun, ended = areas == 0, more_areas == 0
        joined = np.concatenate(
            [np.minimum(boxes[:, :2], more_boxes[:, :2]), np.maximum(boxes[:, 2:], more_boxes[:, 2:])], axis=1
        )
        boxes = np.where(begun[:, np.newaxis], more_boxes, np.where(ended[:, np.newaxis], boxes, joined))
        areas = areas + more_areas
    return areas, boxes


def median_diameter(labels: NDArray[Any]) -> float:
    """Median diameter of the objects of a label image, in pixels; 0 where there are none.

    Args:
        labels: integers [Y, X], 0 is background; numbers may have gaps.
    """
    objects = kernel_labels(labels)
    areas, _ = measure_extents(objects, int(objects.max(initial=0)))
    present = areas[areas > 0]
    return float(np.median(_diameter(present))) if present.size else 0.0


def _diameter(area: NDArray[np.int64]) -> NDArray[np.float32]:
    return (2 * np.sqrt(area / np.pi)).astype(np.float32)


def _slabs(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows in a few parts only: each has a table of all objects."""
    return bands(shape, max(1 << 20, shape[0] * shape[1] // 16)) or [(0, 0)]
