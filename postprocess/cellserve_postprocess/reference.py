"""The kernels once more, in plain NumPy and Python: slow, readable, and what the tests hold the kernels to.

Every function has the arguments and results of the kernel of the same name. Both round the same operations in the same
order, so they agree bit for bit; only `moments` and `flow_errors` may differ by the rounding of a sum.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ._clustering import REGION_COUNT, SEED_COUNT, SEED_REACH
from ._diffusion import LONGEST


def follow_bilinear(flow: NDArray[np.float32], starts: NDArray[np.int64], niter: int) -> NDArray[np.int64]:
    """Follow bilinearly interpolated flows, every pixel every step."""
    height, width = flow.shape[1] - 1, flow.shape[2] - 1
    y, x = (axis.astype(np.float32) for axis in np.divmod(starts, width))
    for _ in range(niter):
        row, column = y.astype(np.int64), x.astype(np.int64)
        part_y, part_x = y - row.astype(np.float32), x - column.astype(np.float32)
        top_left, top_right = flow[:, row, column], flow[:, row, column + 1]
        bottom_left, bottom_right = flow[:, row + 1, column], flow[:, row + 1, column + 1]
        top = top_left + part_x * (top_right - top_left)
        bottom = bottom_left + part_x * (bottom_right - bottom_left)
        step_y, step_x = top + part_y * (bottom - top)
        y, x = _clamped(y + step_y, height), _clamped(x + step_x, width)
    return _indices(y, x, width)


def follow_nearest(flow: NDArray[np.float32], starts: NDArray[np.int64], niter: int) -> NDArray[np.int64]:
    """Follow the flow of the nearest pixel, every pixel every step."""
    height, width = flow.shape[1] - 1, flow.shape[2] - 1
    y, x = (axis.astype(np.float32) for axis in np.divmod(starts, width))
    half = np.float32(0.5)
    for _ in range(niter):
        step_y, step_x = flow[:, (y + half).astype(np.int64), (x + half).astype(np.int64)]
        y, x = _clamped(y + step_y, height), _clamped(x + step_x, width)
    return _indices(y + half, x + half, width)


def _indices(y: NDArray[np.float32], x: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    return np.asarray(y.astype(np.int64) * width + x.astype(np.int64))


def _clamped(position: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    return np.where(position > 0, np.minimum(position, np.float32(length - 1)), np.float32(0))


def cluster(
    starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int32], int]:
    """Label pixels by the region of dense convergence they end in."""
    counts = np.bincount(ends, minlength=height * width).reshape(height, width)
    regions = np.zeros((height, width), dtype=np.int32)
    objects = 0
    for y, x in zip(*np.nonzero(counts > SEED_COUNT), strict=True):
        if regions[y, x] or counts[y, x] < counts[_window(y, x, SEED_REACH)].max():
            continue
        objects += 1
        front = {(int(y), int(x))}
        while front:
            for position in front:
                regions[position] = objects
            front = {
                (near_y, near_x)
                for (y, x) in front
                for near_y in range(max(0, y - 1), min(height, y + 2))
                for near_x in range(max(0, x - 1), min(width, x + 2))
                if counts[near_y, near_x] > REGION_COUNT and regions[near_y, near_x] == 0
            }
    labels = np.zeros(height * width, dtype=np.int32)
    labels[starts] = regions.ravel()[ends]
    return labels.reshape(height, width), objects


def _window(y: int, x: int, reach: int) -> tuple[slice, slice]:
    return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)


def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects, each computed in an image of its own."""
    flow = np.zeros((2, *labels.shape), dtype=np.float32)
    for number in range(1, len(boxes) + 1):
        mask = labels == number
        if mask.any():
            flow[:, mask] = _mask_flow(mask)[:, mask]
    return flow


def flow_errors(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], predicted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of each object and those predicted."""
    errors = np.zeros(len(boxes), dtype=np.float32)
    for i, (y_min, x_min, y_max, x_max) in enumerate(boxes.tolist()):
        block = math.ceil(max(y_max - y_min, x_max - x_min) / LONGEST)
        y, x = np.nonzero(labels == i + 1)
        rows, columns = (y - y_min) // block, (x - x_min) // block
        blocks = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.bool_)
        blocks[rows, columns] = True
        distance = _mask_flow(blocks)[:, rows, columns] - predicted[:, y, x]
        errors[i] = (distance**2).sum(axis=0).mean()
    return errors


def _mask_flow(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unit flow [2, Y, X] of one mask."""
    framed = np.pad(mask, 1)
    y, x = np.nonzero(framed)
    centre = np.argmin((y - np.median(y)) ** 2 + (x - np.median(x)) ** 2)
    heat = np.zeros(framed.shape)
    for _ in range(2 * (int(np.ptp(y)) + int(np.ptp(x)))):
        heat[y[centre], x[centre]] += 1
        sums = np.zeros_like(heat)
        sums[1:-1] = heat[:-2] + heat[2:] + heat[1:-1]
        heat[:, 1:-1] = sums[:, :-2] + sums[:, 2:] + sums[:, 1:-1]
        heat *= framed * (1 / 9)
    slope = np.zeros((2, *framed.shape))
    slope[0, y, x] = heat[y + 1, x] - heat[y - 1, x]
    slope[1, y, x] = heat[y, x + 1] - heat[y, x - 1]
    steepest = np.abs(slope).max(axis=0)
    slope /= np.where(steepest > 0, steepest, 1)
    length = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1])
    return np.asarray((slope / np.where(length > 0, length, 1))[:, 1:-1, 1:-1])


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
