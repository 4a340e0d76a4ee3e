"""The stages of mask recovery on parts of an image, for callers that never hold the whole.

An image has axes [Y, X], a volume [Z, Y, X]. A box of an object is (min..., max...) of all axes, as in `ObjectTable`.
"""

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_parallel import ThreadGroup
from numpy.typing import NDArray

from . import masks, planes, volumes
from ._arrays import as_rows, as_volume, kernel_floats
from ._clustering import REGION_COUNT, SEED_REACH, count_ends
from ._clustering import find_seeds as seeds_in_rows
from ._clustering import grow_rounds as grow_in_volume
from ._labels import moments
from ._labels import renumber as renumber_rows
from ._parts import label_components, number_ends, sum_places
from ._tracking import ESCAPED
from ._window import window_of
from .masks import SeedRule, seed_rule
from .objects import PLANE, equivalent_diameter, measure_extents

__all__ = [
    "ESCAPED",
    "SEED_REACH",
    "SeedRule",
    "components",
    "equivalent_diameter",
    "fill_holes",
    "find_seeds",
    "flow_errors",
    "follow",
    "grow_rounds",
    "measure_extents",
    "neighbours",
    "place_sums",
    "probability_sums",
    "renumber",
    "seed_rule",
    "sinks",
]


def follow(
    maps: NDArray[np.float32],
    origin: tuple[int, ...],
    whole: tuple[int, ...],
    params: RecoveryParams,
    core: tuple[slice, ...],
) -> NDArray[np.int32]:
    """Follow the flows of a window from its kept pixels to where they end.

    A path that stays in the window ends where it would end in the whole image, bit for bit.

    Args:
        maps: float32 [3, Y, X] or [4, Z, Y, X] of the window.
        origin: position in the image of the first pixel of the window.
        whole: shape of the image.
        params: validated parameters.
        core: the pixels of the window that are followed.

    Returns:
        int32, flat index in the window of the pixel in which each path ends. ESCAPED if the path left the window, -1
        for pixels that are not followed.
    """
    maps, threads = kernel_floats(maps), ThreadGroup()
    if maps.ndim == 3:
        (top, left), (height, width), (rows, columns) = origin, whole, core
        return planes.follow_window(maps, (top, left), (height, width), params, threads, (rows, columns))
    (front, top, left), (depth, height, width), (planes_, rows, columns) = origin, whole, core
    window = window_of((front, top, left), maps.shape[1:], (depth, height, width))
    return volumes.follow_window(maps, window, params, threads, (planes_, rows, columns))


def sinks(ends: NDArray[np.int32], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Number the positions of a window at which pixels end.

    Args:
        ends: int32 of any shape, flat indices in the window; overwritten by the indices of the sinks. Negative values
            mean that no pixel was followed, and stay.
        shape: of the window.

    Returns:
        int64 [n] flat index in the window of each sink, ascending; int32 [n] pixels that end in each.
    """
    counts = np.zeros(shape, np.int32)
    rows = as_rows(ends)
    count_ends(rows, 0, rows.shape[0], as_rows(counts))
    flat = counts.ravel()
    places = np.flatnonzero(flat)
    pixels = flat[places]
    flat[places] = np.arange(places.size)
    number_ends(ends, flat)
    return places, pixels


def find_seeds(counts: NDArray[np.int32], rule: SeedRule) -> NDArray[np.int32]:
    """Flat indices of the positions that found objects, ascending.

    Args:
        counts: int32, number of pixels that end at each position. Beyond the array no pixel ends: near its sides there
            may be seeds that are none.
        rule: how many pixels found an object.
    """
    volume = as_volume(counts)
    return seeds_in_rows(volume, rule.reach, rule.count, 0, as_rows(volume).shape[0])


def grow_rounds(counts: NDArray[np.int32], seeds: NDArray[np.int32], rule: SeedRule) -> NDArray[np.int32]:
    """Let the region of each seed grow through its dense neighbours, the largest seed first (Cellpose).

    Args:
        counts: int32, as of `find_seeds`; overwritten.
        seeds: int32, flat indices, ascending.
        rule: how often regions grow.

    Returns:
        int32, in the shape of the counts: 1 + the index of the seed that a position belongs to, 0 for none.
    """
    assert rule.rounds is not None
    grow_in_volume(as_volume(counts), seeds, masks.by_size(counts, seeds), rule.rounds)
    return np.maximum(-counts, 0)


def components(counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the connected components of dense positions, 1..N in the order of their first positions; 0 elsewhere."""
    labels = np.zeros(counts.shape, np.int32)
    label_components(as_volume(counts), REGION_COUNT, as_volume(labels))
    return labels


def neighbours(
    counts: NDArray[np.int32], seeds: NDArray[np.int32], rule: SeedRule
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that few pixels end at, within reach of seeds: they belong to the seed's object.

    Returns:
        int64 [n] index of a seed, and int64 [n] flat index of a position in its reach.
    """
    reach = np.indices((2 * rule.reach + 1,) * counts.ndim).reshape(counts.ndim, -1) - rule.reach
    places = np.array(np.unravel_index(seeds, counts.shape))[:, :, np.newaxis] + reach[:, np.newaxis]
    sides = np.array(counts.shape).reshape(-1, 1, 1)
    inside = ((places >= 0) & (places < sides)).all(axis=0)
    positions = np.ravel_multi_index(tuple(np.clip(places, 0, sides - 1)), counts.shape)
    few = inside & (counts.ravel()[positions] > 0) & (counts.ravel()[positions] <= REGION_COUNT)
    return np.nonzero(few)[0], positions[few]


def flow_errors(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], maps: NDArray[np.float32], params: RecoveryParams
) -> NDArray[np.float32]:
    """Flow errors of the objects 1..n, float32 [n].

    Args:
        labels: int32, the objects in a window of an image.
        boxes: int32 [n, 2 * axes], their bounding boxes in the window.
        maps: float32, the maps of the window.
        params: validated parameters.
    """
    numbers = np.arange(len(boxes))
    return masks.measure_errors(
        as_volume(labels), numbers, _volume_boxes(boxes), kernel_floats(maps), params, ThreadGroup()
    )


def renumber(labels: NDArray[np.int32], numbers: NDArray[np.int32]) -> None:
    """Give objects other numbers, in place.

    Args:
        labels: int32, -1..N; the last number is for -1.
        numbers: int32 [N + 1] or longer, the new number of each; 0 drops an object.
    """
    rows = as_rows(labels)
    renumber_rows(rows, numbers, 0, rows.shape[0])


def fill_holes(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> None:
    """Give background that an object encloses to that object, in place; the object with the smallest box comes first.

    Args:
        labels: int32, the objects 1..n in a window of an image.
        boxes: int32 [n, 2 * axes], their bounding boxes in the window.
    """
    masks.fill_boxes(as_volume(labels), _volume_boxes(boxes), ThreadGroup())


def probability_sums(labels: NDArray[np.int32], logit: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Sum of the cell probability over the pixels of each of the objects 1..count, float64."""
    volume = as_volume(labels)
    sums: NDArray[np.float64] = moments(volume, as_volume(kernel_floats(logit)), count, 0, as_rows(volume).shape[0])
    return sums[:, -1]


def place_sums(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pixels of each of the objects 1..count, and sums of their coordinates: int64 [count, 1 + axes]."""
    sums = sum_places(as_volume(labels), count)
    return np.concatenate([sums[:, :1], sums[:, 4 - labels.ndim :]], axis=1)


def _volume_boxes(boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Boxes of objects of a volume; those of an image lie in its one plane."""
    if boxes.shape[1] == 6:
        return np.ascontiguousarray(boxes, np.int32)
    result = np.zeros((len(boxes), 6), np.int32)
    result[:, PLANE] = boxes
    result[:, 3] = 1
    return result
