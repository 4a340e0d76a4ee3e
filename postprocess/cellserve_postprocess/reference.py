"""Mask recovery once more, in plain NumPy and Python: slow, readable, and what the tests hold the kernels to.

A function of the name of a kernel does what that does, for the whole image and without its shortcuts. Both round the
same operations in the same order, so they agree bit for bit; only `moments` and `flow_errors` may differ by the
rounding of a sum.
"""

import math

import numpy as np
from cellserve_contract.params import MIN_SIZE, RecoveryParams
from numpy.typing import NDArray

from ._clustering import REGION_COUNT, SEED_COUNT, SEED_REACH, SPREAD
from ._diffusion import CELLPOSE_ITERATIONS, FAINTEST, LONGEST
from .masks import CELLPOSE_ROUNDS, FLOW_SCALE, Recovered


def recover_masks(maps: NDArray[np.float32], params: RecoveryParams, shape: tuple[int, int] | None = None) -> Recovered:
    """Recover masks from the outputs of a network, in a label image of that shape."""
    shape = maps.shape[1:] if shape is None else shape
    min_size = MIN_SIZE if params.min_size is None else params.min_size
    cellpose = params.mask_rules == "cellpose3"
    flow, ends = keep(maps, params.cellprob_threshold)
    follow = follow_bilinear if params.interpolation == "bilinear" else follow_nearest
    reach, seed_count = 0, SEED_COUNT
    if not cellpose:
        seed_count = min(SEED_COUNT, max(REGION_COUNT, min_size * ends.size // max(1, math.prod(shape)) - 1))
        reach = SPREAD if seed_count < SEED_COUNT else 0
    converged, count = cluster(
        follow(flow, ends, params.niter), reach, seed_count, CELLPOSE_ROUNDS if cellpose else None
    )
    labels = sampled(converged, shape)
    areas, boxes = extents(labels, count)
    wanted = (areas > 0) & (areas >= min_size) & (areas <= params.max_size_fraction * labels.size)
    if params.exclude_on_edges:
        wanted &= (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < labels.shape).all(axis=1)
    numbers = np.flatnonzero(wanted) + 1
    errors = flow_errors(converged, numbers, extents(converged, count)[1][wanted], flow, cellpose)
    if params.flow_threshold > 0:
        numbers, errors = numbers[errors <= params.flow_threshold], errors[errors <= params.flow_threshold]
    new = np.zeros(count + 1, np.int32)
    new[numbers] = np.arange(1, numbers.size + 1)
    labels, boxes = new[labels], boxes[numbers - 1]
    if params.fill_holes:
        fill_holes(labels, boxes, np.argsort(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=int), kind="stable"))
    if numbers.size <= np.iinfo(np.uint16).max:
        return Recovered(labels.astype(np.uint16), errors)
    return Recovered(labels.astype(np.uint32), errors)


def keep(maps: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Flow of the pixels above the threshold, [Y + 1, X + 1, 2], zero elsewhere; their flat indices, else -1."""
    kept = maps[2] > np.float32(threshold)
    flow = np.where(kept, maps[:2] / np.float32(FLOW_SCALE), np.float32(0)).transpose(1, 2, 0)
    indices = np.arange(kept.size, dtype=np.int32).reshape(kept.shape)
    return np.pad(flow, ((0, 1), (0, 1), (0, 0))), np.where(kept, indices, np.int32(-1))


def follow_bilinear(flow: NDArray[np.float32], ends: NDArray[np.int32], niter: int) -> NDArray[np.int32]:
    """Follow bilinearly interpolated flows, every pixel every step."""
    height, width = ends.shape
    y, x = (axis.astype(np.float32) for axis in np.nonzero(ends >= 0))
    for _ in range(niter):
        row, column = y.astype(int), x.astype(int)
        part_y, part_x = (y - row.astype(np.float32))[:, np.newaxis], (x - column.astype(np.float32))[:, np.newaxis]
        top_left, top_right = flow[row, column], flow[row, column + 1]
        bottom_left, bottom_right = flow[row + 1, column], flow[row + 1, column + 1]
        left = top_left + part_y * (bottom_left - top_left)
        right = top_right + part_y * (bottom_right - top_right)
        step_y, step_x = (left + part_x * (right - left)).T
        y, x = _clamped(y + step_y, height), _clamped(x + step_x, width)
    return _ended(ends, y, x)


def follow_nearest(flow: NDArray[np.float32], ends: NDArray[np.int32], niter: int) -> NDArray[np.int32]:
    """Follow the flow of the nearest pixel, every pixel every step."""
    height, width = ends.shape
    y, x = (axis.astype(np.float32) for axis in np.nonzero(ends >= 0))
    half = np.float32(0.5)
    for _ in range(niter):
        step_y, step_x = flow[(y + half).astype(int), (x + half).astype(int)].T
        y, x = _clamped(y + step_y, height), _clamped(x + step_x, width)
    return _ended(ends, y + half, x + half)


def _ended(ends: NDArray[np.int32], y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.int32]:
    result = ends.copy()
    result[ends >= 0] = y.astype(int) * ends.shape[1] + x.astype(int)
    return result


def _clamped(position: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    return np.where(position > 0, np.minimum(position, np.float32(length - 1)), np.float32(0))


def cluster(ends: NDArray[np.int32], reach: int, seed_count: int, rounds: int | None) -> tuple[NDArray[np.int32], int]:
    """Label pixels by the region of dense convergence they end in.

    More than `seed_count` pixels that end within `reach` of a position found a region, which grows `rounds` times, or
    completely.
    """
    counts = np.bincount(ends[ends >= 0], minlength=ends.size).reshape(ends.shape)
    seeds = [
        (y, x)
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(counts > REGION_COUNT)), strict=True)
        if counts[y, x] == counts[_window(y, x, SEED_REACH)].max() and counts[_window(y, x, reach)].sum() > seed_count
    ]
    regions = np.zeros(ends.shape, dtype=np.int32)
    if rounds is None:
        objects = 0
        for seed in seeds:
            if not regions[seed]:
                objects += 1
                regions[_grown(counts, seed, ends.size)] = objects
                near = _window(*seed, reach)
                regions[near][(regions[near] == 0) & (counts[near] <= REGION_COUNT)] = objects
    else:
        objects = len(seeds)
        for i in sorted(range(objects), key=lambda i: counts[seeds[i]]):
            regions[_grown(counts, seeds[i], rounds)] = i + 1
    return np.where(ends >= 0, regions.ravel()[ends], np.int32(0)), objects


def _grown(counts: NDArray[np.int64], seed: tuple[int, int], rounds: int) -> NDArray[np.bool_]:
    """The region of a seed after it has grown so many times."""
    region = np.zeros(counts.shape, dtype=np.bool_)
    front = {seed}
    while front:
        for position in front:
            region[position] = True
        if rounds == 0:
            break
        rounds -= 1
        front = {
            (near_y, near_x)
            for (y, x) in front
            for near_y in range(max(0, y - 1), min(counts.shape[0], y + 2))
            for near_x in range(max(0, x - 1), min(counts.shape[1], x + 2))
            if counts[near_y, near_x] > REGION_COUNT and not region[near_y, near_x]
        }
    return region


def _window(y: int, x: int, reach: int) -> tuple[slice, slice]:
    return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)


def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects, each computed in an image of its own."""
    flow = np.zeros((2, *labels.shape), dtype=np.float32)
    for number in range(1, len(boxes) + 1):
        mask = labels == number
        if mask.any():
            flow[:, mask] = _mask_flow(mask, False, np.float64)[:, mask]
    return flow


def flow_errors(
    labels: NDArray[np.int32],
    numbers: NDArray[np.integer],
    boxes: NDArray[np.int32],
    predicted: NDArray[np.float32],
    cellpose: bool,
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of some objects and those predicted."""
    errors = np.zeros(len(boxes), dtype=np.float32)
    for i, (y_min, x_min, y_max, x_max) in enumerate(boxes.tolist()):
        block = math.ceil(max(y_max - y_min, x_max - x_min) / LONGEST)
        y, x = np.nonzero(labels == numbers[i])
        rows, columns = (y - y_min) // block, (x - x_min) // block
        blocks = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.bool_)
        blocks[rows, columns] = True
        distance = _mask_flow(blocks, cellpose, np.float32)[:, rows, columns] - predicted[y, x].T
        errors[i] = (distance**2).sum(axis=0).mean()
    return errors


def _mask_flow(mask: NDArray[np.bool_], cellpose: bool, dtype: type[np.floating]) -> NDArray[np.float64]:
    """Unit flow [2, Y, X] of one mask; from heat in double precision where single precision is not enough."""
    framed = np.pad(mask, 1)
    y, x = np.nonzero(framed)
    middle = np.mean if cellpose else np.median
    centre = np.argmin((y - middle(y)) ** 2 + (x - middle(x)) ** 2)
    heat = np.zeros(framed.shape, dtype)
    for _ in range(2 * (int(np.ptp(y)) + int(np.ptp(x))) + (CELLPOSE_ITERATIONS if cellpose else 0)):
        heat[y[centre], x[centre]] += 1
        sums = np.zeros_like(heat)
        sums[1:-1] = heat[:-2] + heat[2:] + heat[1:-1]
        heat[:, 1:-1] = sums[:, :-2] + sums[:, 2:] + sums[:, 1:-1]
        heat *= framed * dtype(1 / 9)
    if dtype is np.float32 and ((heat > 0) & (heat < FAINTEST)).any():
        return _mask_flow(mask, cellpose, np.float64)
    heat = heat.astype(np.float64)
    slope = np.zeros((2, *framed.shape))
    slope[0, y, x] = heat[y + 1, x] - heat[y - 1, x]
    slope[1, y, x] = heat[y, x + 1] - heat[y, x - 1]
    steepest = np.abs(slope).max(axis=0)
    slope /= np.where(steepest > 0, steepest, 1)
    length = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1])
    return np.asarray((slope / np.where(length > 0, length, 1))[:, 1:-1, 1:-1])


def sampled(labels: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Label image of another shape, pixel by pixel."""
    height, width = labels.shape
    result = np.zeros(shape, np.int32)
    for y, x in np.ndindex(*shape):
        result[y, x] = labels[math.floor((y + 0.5) * height / shape[0]), math.floor((x + 0.5) * width / shape[1])]
    return result


def extents(labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas and bounding boxes of the objects 1..count."""
    areas = np.zeros(count, dtype=np.int64)
    boxes = np.zeros((count, 4), dtype=np.int32)
    for i in range(count):
        y, x = np.nonzero(labels == i + 1)
        areas[i] = y.size
        if y.size:
            boxes[i] = y.min(), x.min(), y.max() + 1, x.max() + 1
    return areas, boxes


def moments(labels: NDArray[np.int32], logit: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Sums over the pixels of each object: y, x, cell probability."""
    sums = np.zeros((count, 3))
    for i in range(count):
        y, x = np.nonzero(labels == i + 1)
        sums[i] = y.sum(), x.sum(), (1 / (1 + np.exp(-logit[y, x].astype(np.float64)))).sum()
    return sums


def fill_holes(labels: NDArray[np.int32], boxes: NDArray[np.int32], order: NDArray[np.int64]) -> None:
    """Give background that an object encloses to that object, in place; outside grows step by step from a frame."""
    for i in order:
        solid = np.pad(labels == i + 1, 1)
        outside = np.zeros_like(solid)
        outside[[0, -1], :] = True
        outside[:, [0, -1]] = True
        while True:
            grown = outside.copy()
            grown[1:] |= outside[:-1]
            grown[:-1] |= outside[1:]
            grown[:, 1:] |= outside[:, :-1]
            grown[:, :-1] |= outside[:, 1:]
            grown &= ~solid
            if np.array_equal(grown, outside):
                break
            outside = grown
        labels[(labels == 0) & ~outside[1:-1, 1:-1]] = i + 1
