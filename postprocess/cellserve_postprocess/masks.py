"""From network outputs to masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cellserve_contract.params import MIN_SIZE, RecoveryParams
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import kernel_floats
from ._clustering import REGION_COUNT, SEED_COUNT, SPREAD, assign, count_ends, find_seeds, grow_all, grow_rounds
from ._diffusion import LONGEST, flow_errors
from ._labels import fill_holes, may_have_holes, renumber
from ._tracking import SQUARE, find_traps, follow_bilinear, follow_nearest, keep
from .objects import measure_extents

FLOW_SCALE = 5.0
"""Networks predict flows times this, which balances the terms of the training loss (paper, "Deep neural network")."""
CELLPOSE_ROUNDS = 5
"""Times that Cellpose 3.1 lets the region of a seed grow, where the paper lets it grow until it is complete."""

_PART_COST = 1 << 23
"""Iterations times pixels of the objects whose flow errors one thread computes at a time: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Masks found in an image.

    Attributes:
        labels: [Y, X], 0 is background, 1..N are objects; uint16 up to 65,535 objects, else uint32.
        flow_errors: float32 [N], mean squared distance between the flows of each object's shape and those predicted.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32]
    flow_errors: NDArray[np.float32]


def recover_masks(
    maps: NDArray[np.float32],
    params: RecoveryParams,
    threads: ThreadGroup | None = None,
    shape: tuple[int, int] | None = None,
) -> Recovered:
    """Recover masks from the outputs of a network (paper, "Mask recovery via gradient flow tracking").

    Every pixel above the probability threshold follows the flows; pixels that end together make an object. Objects that
    are too small, too large, at the border (on request) or whose shape does not explain the predicted flows are
    dropped; then holes are filled. Sizes and flow errors are those of the shapes before filling, as in Cellpose.

    The label image may be smaller than the maps: objects of few pixels converge better at the larger scale of the
    maps. Masks are then read at the pixel centres of the label image. Sizes, borders and holes are those of the label
    image, flow errors those at the scale of the maps.

    Besides the maps it takes 16 bytes a pixel, whatever the number of objects.

    Args:
        maps: float32 [3, Y, X]: 5 * flow along y, 5 * flow along x, logit of the cell probability.
        params: validated parameters.
        threads: threads that share the work; the calling thread alone if left out. Results do not depend on it.
        shape: (Y, X) of the label image; that of the maps if left out.

    Returns:
        The label image and the flow error of each object. Objects are numbered by the row, then the column, where their
        pixels converge.

    Raises:
        ValueError: the maps have other axes, or 2**31 pixels or more.
        WorkCancelledError: the work was cancelled.
    """
    if maps.ndim != 3 or maps.shape[0] != 3 or maps[0].size > np.iinfo(np.int32).max:
        raise ValueError(f"network outputs have axes [3, Y, X] and less than 2**31 pixels, not shape {maps.shape}")
    threads = threads or ThreadGroup()
    flow, ends = _follow(kernel_floats(maps), params, threads)
    shape = maps.shape[1:] if shape is None else shape
    min_size = MIN_SIZE if params.min_size is None else params.min_size
    converged, count = _cluster(ends, _seed_rule(params, min_size * ends.size // max(1, math.prod(shape))), threads)
    labels = _sampled(converged, shape)
    areas, boxes = measure_extents(labels, count, threads)
    wanted = (areas >= max(1, min_size)) & (areas <= params.max_size_fraction * labels.size)
    if params.exclude_on_edges:
        wanted &= (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < labels.shape).all(axis=1)
    errors = np.zeros(count, np.float32)
    spans = boxes if labels is converged else measure_extents(converged, count, threads)[1]
    errors[wanted] = _flow_errors(converged, np.flatnonzero(wanted), spans[wanted], flow, params, threads)
    del flow, converged
    if params.flow_threshold > 0:
        wanted &= errors <= params.flow_threshold
    numbers = np.zeros(count + 1, np.int32)
    numbers[1:][wanted] = np.arange(1, np.count_nonzero(wanted) + 1)
    threads.each(lambda rows: renumber(labels, numbers, *rows), bands(labels.shape))
    if params.fill_holes:
        _fill_holes(labels, boxes[wanted], threads)
    return Recovered(_shortest(labels, int(np.count_nonzero(wanted)), threads), errors[wanted])


def _follow(
    maps: NDArray[np.float32], params: RecoveryParams, threads: ThreadGroup
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Flows of the kept pixels, float32 [Y + 1, X + 1, 2], zero elsewhere; and where they end, int32 [Y, X]."""
    height, width = maps.shape[1:]
    flow = np.zeros((height + 1, width + 1, 2), np.float32)
    ends = np.empty((height, width), np.int32)
    rows = bands(ends.shape)
    threshold, scale = np.float32(params.cellprob_threshold), np.float32(FLOW_SCALE)
    threads.each(lambda rows: keep(maps, threshold, scale, *rows, flow, ends), rows)
    if params.interpolation == "nearest":
        threads.each(lambda rows: follow_nearest(flow, params.niter, *rows, ends, threads.cancellation.flag), rows)
    else:
        traps = np.zeros((height + 1, width + 1), np.bool_)
        threads.each(lambda rows: find_traps(flow, *rows, traps), rows)
        rows = bands(ends.shape, multiple=SQUARE)
        threads.each(
            lambda rows: follow_bilinear(flow, traps, params.niter, *rows, ends, threads.cancellation.flag), rows
        )
    return flow, ends


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


def _seed_rule(params: RecoveryParams, min_size: int) -> SeedRule:
    """The rule for objects of at least so many pixels at the scale of the maps."""
    if params.mask_rules == "cellpose3":
        return SeedRule(0, SEED_COUNT, CELLPOSE_ROUNDS)
    count = min(SEED_COUNT, max(REGION_COUNT, min_size - 1))
    # The few pixels of a small object go to and fro and end around its sink: none of them can be spared.
    return SeedRule(SPREAD if count < SEED_COUNT else 0, count, None)


def _cluster(ends: NDArray[np.int32], rule: SeedRule, threads: ThreadGroup) -> tuple[NDArray[np.int32], int]:
    """Label image of the pixels that end together, in the memory of `ends`; and the highest number in it."""
    counts = np.zeros(ends.shape, np.int32)
    rows = bands(ends.shape)
    for part in rows:  # one after another: pixels of different parts may end at the same position
        threads.cancellation.raise_if_cancelled()
        count_ends(ends, *part, counts)
    found = threads.each(lambda rows: find_seeds(counts, rule.reach, rule.count, *rows), rows)
    seeds = np.concatenate([np.empty(0, np.int32), *found])
    if rule.rounds is None:
        count = grow_all(counts, seeds, rule.reach, threads.cancellation.flag)
    else:
        # The largest first; of equal ones the last, as a later one writes over an earlier one there.
        order = np.argsort(counts.ravel()[seeds], kind="stable")[::-1].copy()
        grow_rounds(counts, seeds, order, rule.rounds)
        count = seeds.size
    threads.each(lambda rows: assign(ends, counts, *rows), rows)
    return ends, count


def _sampled(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Label image of another shape, read at the centres of its pixels; the argument itself where it has that shape.

    An object that covers no centre vanishes. On average objects keep their area.
    """
    if labels.shape == shape:
        return labels
    rows, columns = (
        (2 * np.arange(length) + 1) * own // (2 * length) for length, own in zip(shape, labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])


def _flow_errors(
    labels: NDArray[np.int32],
    indices: NDArray[np.int64],
    boxes: NDArray[np.int32],
    flow: NDArray[np.float32],
    params: RecoveryParams,
    threads: ThreadGroup,
) -> NDArray[np.float32]:
    """Flow errors of the objects of these indices, float32 [n]."""
    sides = np.minimum(boxes[:, 2:] - boxes[:, :2], LONGEST).astype(np.int64)
    parts = _parts(np.prod(sides, axis=1) * 2 * sides.sum(axis=1), _PART_COST)
    numbers = (indices + 1).astype(np.int32)
    cellpose = params.mask_rules == "cellpose3"

    def measure(part: tuple[int, int]) -> NDArray[np.float32]:
        some = slice(*part)
        return flow_errors(labels, numbers[some], boxes[some], flow, cellpose, threads.cancellation.flag)

    errors = threads.each(measure, parts)
    return np.concatenate([np.empty(0, np.float32), *errors])


def _fill_holes(labels: NDArray[np.int32], boxes: NDArray[np.int32], threads: ThreadGroup) -> None:
    box_areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.int64)
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

    def copy(rows: tuple[int, int]) -> None:
        result[slice(*rows)] = labels[slice(*rows)]

    threads.each(copy, bands(labels.shape))
    return result


def _parts(costs: NDArray[np.int64], most: int) -> Sequence[tuple[int, int]]:
    """Cut a list of objects into parts (first, last), half open, of about such costs; no part is empty."""
    marks = np.cumsum(costs) // most
    edges = np.flatnonzero(np.diff(marks)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(costs)], strict=True)) if len(costs) else []
