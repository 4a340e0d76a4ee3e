"""Objects of a block: extents, flow errors, holes, probabilities; and the tables of the objects of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from cellserve_postprocess import stages
from numpy.typing import NDArray

from .geometry import Box


@dataclass(frozen=True, slots=True)
class Extents:
    """Areas and bounding boxes of objects.

    Attributes:
        numbers: int32 [n], objects.
        areas: int64 [n], pixels of each.
        boxes: int32 [n, 2 * axes], bounding box of each in the image, as of `measure_extents`.
    """

    numbers: NDArray[np.int32]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int32]


def local_numbers(numbers: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Returns 0 and the objects of a block, int32 [n + 1], ascending, and for each of some numbers its place there.

    Args:
        numbers: int32, objects; 0 for none.
    """
    present, places = np.unique(np.concatenate([np.zeros(1, np.int32), numbers]), return_inverse=True)
    return present, places[1:].astype(np.int32)


def measure_block(labels: NDArray[np.int32], numbers: NDArray[np.int32], box: Box) -> Extents:
    """Returns the extents of the objects of a block of the label image, as far as they lie in the block.

    Args:
        labels: int32, the block; an object has its place in `numbers`, from 1.
        numbers: int32, the objects.
        box: of the block.
    """
    areas, boxes = stages.measure_extents(labels, numbers.size)
    present = np.flatnonzero(areas)
    return Extents(numbers[present], areas[present], boxes[present] + np.array(2 * box.start, np.int32))


def join_extents(parts: Iterable[Extents], count: int, axes: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Returns areas, int64 [count], and boxes, int32 [count, 2 * axes], of objects 1..count; zeros for absent ones."""
    areas = np.zeros(count, np.int64)
    low = np.full((count, axes), np.iinfo(np.int32).max, np.int32)
    high = np.zeros((count, axes), np.int32)
    for part in parts:  # an object occurs once in a part
        index = part.numbers - 1
        areas[index] += part.areas
        low[index] = np.minimum(low[index], part.boxes[:, :axes])
        high[index] = np.maximum(high[index], part.boxes[:, axes:])
    low[areas == 0] = 0
    return areas, np.concatenate([low, high], axis=1)


@dataclass(frozen=True, slots=True)
class Holes:
    """Pixels that objects enclose. Those that are background in the end belong to the object.

    Attributes:
        positions: int64 [h], flat indices in the label image.
        numbers: int32 [h], the object that encloses each.
        probabilities: float64 [h], cell probability of each.
    """

    positions: NDArray[np.int64]
    numbers: NDArray[np.int32]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of the label image, and the maps at its pixels.

    Attributes:
        box: of the part in the label image.
        labels: int32, some objects numbered 1..n; others are 0.
        logit: float32, logit of the cell probability at the centre of each pixel.
    """

    box: Box
    labels: NDArray[np.int32]
    logit: NDArray[np.float32]


def measure_holes(
    sample: Sample, numbers: NDArray[np.int32], boxes: NDArray[np.int32], shape: tuple[int, ...], fill: bool
) -> tuple[NDArray[np.float64], Holes]:
    """Sum the cell probability over objects, float64 [n], and find the pixels that they enclose.

    Args:
        sample: contains all these objects.
        numbers: int32 [n], the objects 1..n of the sample, ascending.
        boxes: int32 [n, 2 * axes], their bounding boxes in the label image.
        shape: of the label image.
        fill: whether holes are looked for.
    """
    labels = sample.labels
    sums = stages.probability_sums(labels, sample.logit, numbers.size)
    if not fill:
        return sums, Holes(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))
    filled = labels.copy()
    # What an object encloses depends on its own pixels alone. Of nested objects the smaller box comes first, as in
    # memory; objects of other blocks are compared when holes are filled.
    stages.fill_holes(filled, boxes - np.array(2 * sample.box.start, np.int32))
    places = np.flatnonzero(filled != labels)
    probabilities = 1 / (1 + np.exp(-sample.logit.ravel()[places].astype(np.float64)))
    return sums, Holes(sample.box.to_image(places, shape), numbers[filled.ravel()[places] - 1], probabilities)


def select(labels: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Leaves only these objects in a label image, numbered 1..n, in place; returns the label image."""
    new = np.zeros(max(int(labels.max(initial=0)), int(numbers.max(initial=0))) + 1, np.int32)
    new[numbers] = np.arange(1, numbers.size + 1)
    stages.renumber(labels, new)
    return labels


def fill_block(
    labels: NDArray[np.int32], box: Box, shape: tuple[int, ...], holes: Holes, sizes: NDArray[np.int64]
) -> Holes:
    """Give background of a block to the objects that enclose it, in place.

    Args:
        labels: int32, the block of the label image.
        box: of the block.
        shape: of the label image.
        holes: of all objects whose holes reach into the block, numbered as the labels; 0 where an object was dropped.
        sizes: int64 [h], pixels of the bounding box of the object that encloses each; the smallest comes first.

    Returns:
        The pixels that were filled, and the object of each.
    """
    places = box.from_image(holes.positions, shape)
    candidates = np.flatnonzero((places >= 0) & (holes.numbers > 0))
    candidates = candidates[labels.ravel()[places[candidates]] == 0]
    order = np.lexsort((holes.numbers[candidates], sizes[candidates], places[candidates]))
    candidates = candidates[order]
    first = np.diff(places[candidates], prepend=-1) != 0
    filled = candidates[first]
    labels.ravel()[places[filled]] = holes.numbers[filled]
    return Holes(holes.positions[filled], holes.numbers[filled], holes.probabilities[filled])


def sum_block(labels: NDArray[np.int32], count: int, box: Box) -> NDArray[np.int64]:
    """Returns the pixels and the sums of coordinates of the objects 1..count of a block, int64 [count, 1 + axes]."""
    sums = stages.place_sums(labels, count)
    sums[:, 1:] += sums[:, :1] * np.array(box.start)
    return sums
