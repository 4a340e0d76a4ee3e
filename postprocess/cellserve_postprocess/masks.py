"""From network outputs to masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import FLOW_SCALE, as_rows, as_volume, kernel_floats
from ._clustering import REGION_COUNT, SEED_COUNT, SPREAD, assign, count_ends, find_seeds, grow_all, grow_rounds
from ._diffusion import LONGEST, flow_errors
from ._diffusion3d import LONGEST as LONGEST_3D
from ._diffusion3d import flow_errors as volume_flow_errors
from ._labels import fill_holes, may_have_holes, renumber
from .objects import PLANE, volume_extents
from .planes import follow_plane
from .volumes import follow_volume

CELLPOSE_ROUNDS = 5
"""Times that Cellpose 3.1 lets the region of a seed grow, where the paper lets it grow until it is complete."""

_PART_COST = 1 << 23
"""Iterations times pixels of the objects whose flow errors one thread computes at a time: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Masks found in an image.

    Attributes:
        labels: [Y, X] or [Z, Y, X], 0 is background, 1..N are objects; uint16 up to 65,535 objects, else uint32.
        flow_errors: float32 [N], mean squared distance between the flows of each object's shape and those predicted.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32]
    flow_errors: NDArray[np.float32]


def recover_masks(
    maps: NDArray[np.float32],
    params: RecoveryParams,
    threads: ThreadGroup | None = None,
    shape: tuple[int, ...] | None = None,
) -> Recovered:
    """Recover masks from the outputs of a network (paper, "Mask recovery via gradient flow tracking").

    Every pixel above the probability threshold follows the flows; pixels that end together make an object. Objects that
    are too small, too large, at the border (on request) or whose shape does not explain the predicted flows are
    dropped; then holes are filled. Sizes and flow errors are those of the shapes before filling, as in Cellpose.

    The label image may be smaller than the maps: objects of few pixels converge better at the larger scale of the
    maps. Masks are then read at the pixel centres of the label image. Sizes, borders and holes are those of the label
    image, flow errors those at the scale of the maps.

    In a volume, voxels follow trilinear flows, and windows and neighbours have three axes (paper, "3D models"). Objects
    that are small beside the others are dropped, too (`min_volume_fraction`). Flow errors are those of heat in three
    dimensions; Cellpose 3.1 does not measure them. A volume of one plane has the holes of an image.

    Besides the maps it takes 13 bytes a pixel or 17 bytes a voxel, whatever the number of objects.

    Args:
        maps: float32 [3, Y, X]: 5 * flow along y, 5 * flow along x, logit of the cell probability; or [4, Z, Y, X]: 5 *
            flow along z, y and x, logit.
        params: validated parameters.
        threads: threads that share the work; the calling thread alone if left out. Results do not depend on it.
        shape: (Y, X) or (Z, Y, X) of the label image; that of the maps if left out.

    Returns:
        The label image and the flow error of each object. Objects are numbered by the plane, then the row, then the
        column, where their pixels converge.

    Raises:
        ValueError: the maps have other axes, or 2**31 pixels or more.
        WorkCancelledError: the work was cancelled.
    """
    if maps.ndim not in (3, 4) or maps.shape[0] != maps.ndim or maps[0].size > np.iinfo(np.int32).max:
        raise ValueError(
            f"network outputs have axes [3, Y, X] or [4, Z, Y, X] and less than 2**31 pixels, not shape {maps.shape}"
        )
    threads = threads or ThreadGroup()
    maps, params = kernel_floats(maps), params.resolved(maps.ndim - 1)
    shape, min_size = maps.shape[1:] if shape is None else shape, params.min_size
    assert min_size is not None  # resolved
    assert params.flow_threshold is not None
    ends = as_volume((follow_plane if maps.ndim == 3 else follow_volume)(maps, params, threads))
    converged, count = _cluster(ends, seed_rule(params, min_size * ends.size // max(1, math.prod(shape))), threads)
    labels = _sampled(converged, (1,) * (3 - len(shape)) + shape)
    volumes, boxes = volume_extents(labels, count, threads)
    wanted = (volumes >= max(1, min_size)) & (volumes <= params.max_size_fraction * labels.size)
    if params.exclude_on_edges:
        wanted &= (boxes[:, 1:3] > 0).all(axis=1) & (boxes[:, 4:] < labels.shape[1:]).all(axis=1)
    errors = np.zeros(count, np.float32)
    spans = boxes if labels is converged else volume_extents(converged, count, threads)[1]
    errors[wanted] = measure_errors(converged, np.flatnonzero(wanted), spans[wanted], maps, params, threads)
    if params.flow_threshold > 0:
        wanted &= errors <= params.flow_threshold
    if maps.ndim == 4 and wanted.any():
        wanted &= volumes >= params.min_volume_fraction * np.median(volumes[wanted])
    numbers = np.zeros(count + 1, np.int32)
    numbers[1:][wanted] = np.arange(1, np.count_nonzero(wanted) + 1)
    rows = as_rows(labels)
    threads.each(lambda part: renumber(rows, numbers, *part), bands(rows.shape))
    if params.fill_holes:
        fill_boxes(labels, boxes[wanted], threads)
    return Recovered(_shortest(labels.reshape(shape), int(np.count_nonzero(wanted)), threads), errors[wanted])


@dataclass(frozen=True, slots=True)
class SeedRule:
    """Where objects are founded, and how far they reach.

    Attributes:
        reach: pixels that end at most this far from a seed, along both axes, count for it and belong to it.
        count: more of them found an object.
        rounds: times that the region of a seed grows; None: until it is complete.
    """

    reach: int
    count: int
    rounds: int | None


def seed_rule(params: RecoveryParams, min_size: int) -> SeedRule:
    """The rule for objects of at least so many pixels at the scale of the maps."""
    if params.mask_rules == "cellpose3":
        return SeedRule(0, SEED_COUNT, CELLPOSE_ROUNDS)
    count = min(SEED_COUNT, max(REGION_COUNT, min_size - 1))
    # The few pixels of a small object go to and fro and end around its sink: none of them can be spared.
    return SeedRule(SPREAD if count < SEED_COUNT else 0, count, None)


def _cluster(ends: NDArray[np.int32], rule: SeedRule, threads: ThreadGroup) -> tuple[NDArray[np.int32], int]:
    """Label image of the pixels that end together, in the memory of `ends`; and the highest number in it."""
    counts = np.zeros(ends.shape, np.int32)
    rows, row_counts = as_rows(ends), as_rows(counts)
    parts = bands(rows.shape)
    for part in parts:  # one after another: pixels of different parts may end at the same position
        threads.cancellation.raise_if_cancelled()
        count_ends(rows, *part, row_counts)
    found = threads.each(lambda part: find_seeds(counts, rule.reach, rule.count, *part), parts)
    seeds = np.concatenate([np.empty(0, np.int32), *found])
    if rule.rounds is None:
        count = grow_all(counts, seeds, rule.reach, threads.cancellation.flag)
    else:
        grow_rounds(counts, seeds, by_size(counts, seeds), rule.rounds)
        count = seeds.size
    threads.each(lambda part: assign(rows, row_counts, *part), parts)
    return ends, count


def by_size(counts: NDArray[np.int32], seeds: NDArray[np.int32]) -> NDArray[np.int64]:
    """Indices of the seeds, the largest first; of equal ones the last, as Cellpose writes a later one over earlier."""
    return np.argsort(counts.ravel()[seeds], kind="stable")[::-1].copy()


def _sampled(labels: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Label image of another shape, read at the centres of its pixels; the argument itself where it has that shape.

    An object that covers no centre vanishes. On average objects keep their area.
    """
    if labels.shape == shape:
        return labels
    places = [
        (2 * np.arange(length) + 1) * own // (2 * length) for length, own in zip(shape, labels.shape, strict=True)
    ]
    return np.ascontiguousarray(labels[np.ix_(*places)])


def measure_errors(
    labels: NDArray[np.int32],
    indices: NDArray[np.int64],
    boxes: NDArray[np.int32],
    maps: NDArray[np.float32],
    params: RecoveryParams,
    threads: ThreadGroup,
) -> NDArray[np.float32]:
    """Flow errors of the objects of these indices, float32 [n]."""
    volume = maps.ndim == 4
    sides = np.minimum(boxes[:, 3:] - boxes[:, :3], LONGEST_3D if volume else LONGEST).astype(np.int64)
    parts = _parts(np.prod(sides, axis=1) * 2 * sides.sum(axis=1), _PART_COST)
    numbers = (indices + 1).astype(np.int32)
    cellpose = params.mask_rules == "cellpose3"
    scale, flag = np.float32(FLOW_SCALE), threads.cancellation.flag

    def measure(part: tuple[int, int]) -> NDArray[np.float32]:
        some = slice(*part)
        if volume:
            return volume_flow_errors(labels, numbers[some], boxes[some], maps, scale, flag)
        flat = np.ascontiguousarray(boxes[some][:, PLANE])
        return flow_errors(labels[0], numbers[some], flat, maps, scale, cellpose, flag)

    errors = threads.each(measure, parts)
    return np.concatenate([np.empty(0, np.float32), *errors])


def fill_boxes(labels: NDArray[np.int32], boxes: NDArray[np.int32], threads: ThreadGroup) -> None:
    """Fill the holes of objects 1..n of labels [Z, Y, X], in place: those with the smallest bounding box first."""
    box_areas = np.prod(boxes[:, 3:] - boxes[:, :3], axis=1, dtype=np.int64)
    found = threads.each(
        lambda part: may_have_holes(labels, boxes, *part, threads.cancellation.flag), _parts(box_areas, 1 << 20)
    )
    hollow = np.flatnonzero(np.concatenate([np.empty(0, np.bool_), *found]))
    fill_holes(labels, boxes, hollow[np.argsort(box_areas[hollow], kind="stable")], threads.cancellation.flag)
    threads.cancellation.raise_if_cancelled()


def _shortest(labels: NDArray[np.int32], count: int, threads: ThreadGroup) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """The label image in the shortest type that holds so many objects."""
    result: NDArray[np.uint16] | NDArray[np.uint32]
    result = np.empty(labels.shape, np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)

    source, target = as_rows(labels), as_rows(result)

    def copy(part: tuple[int, int]) -> None:
        target[slice(*part)] = source[slice(*part)]

    threads.each(copy, bands(source.shape))
    return result


def _parts(costs: NDArray[np.int64], most: int) -> Sequence[tuple[int, int]]:
    """Cut a list of objects into parts (first, last), half open, of about such costs; no part is empty."""
    marks = np.cumsum(costs) // most
    edges = np.flatnonzero(np.diff(marks)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(costs)], strict=True)) if len(costs) else []
