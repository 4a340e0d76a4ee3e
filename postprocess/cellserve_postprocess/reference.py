"""Mask recovery once more, in plain NumPy and Python: slow, readable, and what the tests hold the kernels to.

A function of the name of a kernel does what that does, for the whole image and without its shortcuts. Both round the
same operations in the same order, so they agree bit for bit; only `moments` and `flow_errors` may differ by the
rounding of a sum.
"""

import itertools
import math

import numpy as np
from cellserve_contract.params import RecoveryParams
from numpy.typing import NDArray

from ._arrays import FLOW_SCALE
from ._clustering import REGION_COUNT, SEED_COUNT, SEED_REACH, SPREAD
from ._diffusion import CELLPOSE_ITERATIONS, FAINTEST, LONGEST
from ._diffusion3d import LONGEST as LONGEST_3D
from .masks import CELLPOSE_ROUNDS, Recovered


def recover_masks(maps: NDArray[np.float32], params: RecoveryParams, shape: tuple[int, ...] | None = None) -> Recovered:
    """Recover masks from the outputs of a network, in a label image of that shape."""
    shape = maps.shape[1:] if shape is None else shape
    axes = len(shape)
    params = params.resolved(axes)
    min_size = params.min_size
    assert min_size is not None  # resolved
    assert params.flow_threshold is not None
    assert params.cellprob_threshold is not None
    assert params.niter is not None
    cellpose = params.mask_rules == "cellpose3"
    flow, ends = keep(maps, params.cellprob_threshold)
    follow = follow_bilinear if params.interpolation == "bilinear" else follow_nearest
    if cellpose and axes == 3 and params.interpolation == "bilinear":
        follow = follow_stretched
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
        wanted &= (boxes[:, axes - 2 : axes] > 0).all(axis=1)
        wanted &= (boxes[:, 2 * axes - 2 :] < labels.shape[-2:]).all(axis=1)
    numbers = np.flatnonzero(wanted) + 1
    errors = flow_errors(converged, numbers, extents(converged, count)[1][wanted], maps, cellpose)
    if params.flow_threshold > 0:
        numbers, errors = numbers[errors <= params.flow_threshold], errors[errors <= params.flow_threshold]
    if axes == 3 and numbers.size:
        volumes = areas[numbers - 1]
        large = volumes >= params.min_volume_fraction * np.median(volumes)
        numbers, errors = numbers[large], errors[large]
    new = np.zeros(count + 1, np.int32)
    new[numbers] = np.arange(1, numbers.size + 1)
    labels, boxes = new[labels], boxes[numbers - 1]
    if params.fill_holes:
        fill_holes(labels, boxes, np.argsort(np.prod(boxes[:, axes:] - boxes[:, :axes], axis=1), kind="stable"))
    if numbers.size <= np.iinfo(np.uint16).max:
        return Recovered(labels.astype(np.uint16), errors)
    return Recovered(labels.astype(np.uint32), errors)


def keep(maps: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Flow of the pixels above the threshold, [Y + 1, X + 1, 2], zero elsewhere; their flat indices, else -1.

    Of voxels: [Z + 1, Y + 1, X + 1, 3].
    """
    kept = maps[-1] > np.float32(threshold)
    flow = np.moveaxis(np.where(kept, maps[:-1] / np.float32(FLOW_SCALE), np.float32(0)), 0, -1)
    indices = np.arange(kept.size, dtype=np.int32).reshape(kept.shape)
    return np.pad(flow, [*[(0, 1)] * kept.ndim, (0, 0)]), np.where(kept, indices, np.int32(-1))


def follow_bilinear(flow: NDArray[np.float32], ends: NDArray[np.int32], niter: int) -> NDArray[np.int32]:
    """Follow bilinearly interpolated flows, in volumes trilinearly interpolated, every pixel every step."""
    positions = [axis.astype(np.float32) for axis in np.nonzero(ends >= 0)]
    for _ in range(niter):
        first = [axis.astype(int) for axis in positions]
        parts = [(axis - at.astype(np.float32))[:, np.newaxis] for axis, at in zip(positions, first, strict=True)]
        positions = _moved(positions, _between(flow, first, parts).T, ends.shape)
    return _ended(ends, positions)


def follow_stretched(flow: NDArray[np.float32], ends: NDArray[np.int32], niter: int) -> NDArray[np.int32]:
    """Follow flows as Cellpose 3.1 does in volumes, every voxel every step.

    `grid_sample` takes the faces of the outermost voxels for the ends of an axis, where Cellpose means their centres.
    The flow of a position is therefore read up to half a voxel nearer to the face, and is zero beyond the face.
    """
    positions = [axis.astype(np.float32) for axis in np.nonzero(ends >= 0)]
    for _ in range(niter):
        read = [
            axis * np.float32(length / max(1, length - 1)) - np.float32(0.5 * (length > 1))
            for axis, length in zip(positions, ends.shape, strict=True)
        ]
        first = [np.floor(axis).astype(int) for axis in read]
        parts = [(axis - np.floor(axis))[:, np.newaxis] for axis in read]
        # Voxel -1 is the last of the axis, where the frame of zeros lies.
        positions = _moved(positions, _between(flow, first, parts).T, ends.shape)
    return _ended(ends, positions)


def _between(
    flow: NDArray[np.float32], first: list[NDArray[np.int_]], parts: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Flow between the corners of cells: first along the first axis, then along the next ones."""
    corners = [
        flow[tuple(at + offset for at, offset in zip(first, offsets, strict=True))]
        for offsets in itertools.product((0, 1), repeat=len(first))
    ]
    for part in parts:
        half = len(corners) // 2
        corners = [near + part * (far - near) for near, far in zip(corners[:half], corners[half:], strict=True)]
    return corners[0]


def follow_nearest(flow: NDArray[np.float32], ends: NDArray[np.int32], niter: int) -> NDArray[np.int32]:
    """Follow the flow of the nearest pixel, every pixel every step."""
    positions = [axis.astype(np.float32) for axis in np.nonzero(ends >= 0)]
    half = np.float32(0.5)
    for _ in range(niter):
        nearest = tuple((axis + half).astype(int) for axis in positions)
        positions = _moved(positions, flow[nearest].T, ends.shape)
    return _ended(ends, [axis + half for axis in positions])


def _moved(
    positions: list[NDArray[np.float32]], steps: NDArray[np.float32], shape: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Positions after a step, within the image. NaN becomes zero."""
    new = [axis + step for axis, step in zip(positions, steps, strict=True)]
    return [
        np.where(axis > 0, np.minimum(axis, np.float32(length - 1)), np.float32(0))
        for axis, length in zip(new, shape, strict=True)
    ]


def _ended(ends: NDArray[np.int32], positions: list[NDArray[np.float32]]) -> NDArray[np.int32]:
    result = ends.copy()
    result[ends >= 0] = np.ravel_multi_index(tuple(axis.astype(int) for axis in positions), ends.shape)
    return result


def cluster(ends: NDArray[np.int32], reach: int, seed_count: int, rounds: int | None) -> tuple[NDArray[np.int32], int]:
    """Label pixels by the region of dense convergence they end in.

    More than `seed_count` pixels that end within `reach` of a position found a region, which grows `rounds` times, or
    completely.
    """
    counts = np.bincount(ends[ends >= 0], minlength=ends.size).reshape(ends.shape)
    seeds = [
        place
        for place in zip(*(axis.tolist() for axis in np.nonzero(counts > REGION_COUNT)), strict=True)
        if counts[place] == counts[_window(place, SEED_REACH)].max()
        and counts[_window(place, reach)].sum() > seed_count
    ]
    regions = np.zeros(ends.shape, dtype=np.int32)
    if rounds is None:
        objects = 0
        for seed in seeds:
            if not regions[seed]:
                objects += 1
                regions[_grown(counts, seed, ends.size)] = objects
                near = _window(seed, reach)
                regions[near][(regions[near] == 0) & (counts[near] <= REGION_COUNT)] = objects
    else:
        objects = len(seeds)
        for i in sorted(range(objects), key=lambda i: counts[seeds[i]]):
            regions[_grown(counts, seeds[i], rounds)] = i + 1
    return np.where(ends >= 0, regions.ravel()[ends], np.int32(0)), objects


def _grown(counts: NDArray[np.int64], seed: tuple[int, ...], rounds: int) -> NDArray[np.bool_]:
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
            near
            for position in front
            for near in itertools.product(
                *(range(max(0, at - 1), min(length, at + 2)) for at, length in zip(position, counts.shape, strict=True))
            )
            if counts[near] > REGION_COUNT and not region[near]
        }
    return region


def _window(place: tuple[int, ...], reach: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, at - reach), at + reach + 1) for at in place)


def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects, each computed in an image of its own."""
    flow = np.zeros((labels.ndim, *labels.shape), dtype=np.float32)
    for number in range(1, len(boxes) + 1):
        mask = labels == number
        if mask.any():
            flow[:, mask] = _mask_flow(mask, False, np.float64)[:, mask]
    return flow


def flow_errors(
    labels: NDArray[np.int32],
    numbers: NDArray[np.integer],
    boxes: NDArray[np.int32],
    maps: NDArray[np.float32],
    cellpose: bool,
) -> NDArray[np.float32]:
    """Mean squared distance between the flows of some objects and those predicted.

    Cellpose computes no flow errors of volumes.
    """
    axes = labels.ndim
    longest = LONGEST if axes == 2 else LONGEST_3D
    errors = np.zeros(len(boxes), dtype=np.float32)
    for i, box in enumerate(boxes):
        block = math.ceil(max(box[axes:] - box[:axes]) / longest)
        places = np.nonzero(labels == numbers[i])
        at = tuple((place - first) // block for place, first in zip(places, box[:axes], strict=True))
        blocks = np.zeros([place.max() + 1 for place in at], dtype=np.bool_)
        blocks[at] = True
        predicted = np.stack([component[places] for component in maps[:axes]]) / np.float32(FLOW_SCALE)
        own = _mask_flow(blocks, cellpose and axes == 2, np.float32)
        distance = np.stack([component[at] for component in own]) - predicted
        errors[i] = (distance**2).sum(axis=0).mean()
    return errors


def _mask_flow(mask: NDArray[np.bool_], cellpose: bool, dtype: type[np.floating]) -> NDArray[np.float64]:
    """Unit flow [2, Y, X] (of a volume [3, Z, Y, X]) of one mask; from heat in double precision if need be."""
    framed = np.pad(mask, 1)
    places = np.nonzero(framed)
    middle = np.mean if cellpose else np.median
    centre = np.argmin(sum((place - middle(place)) ** 2 for place in places))
    source = tuple(place[centre] for place in places)
    heat = np.zeros(framed.shape, dtype)
    share = framed * dtype(1 / 3**mask.ndim)
    for _ in range(2 * sum(int(np.ptp(place)) for place in places) + (CELLPOSE_ITERATIONS if cellpose else 0)):
        heat[source] += 1
        for axis in range(mask.ndim):
            lines = np.moveaxis(heat, axis, 0)
            sums = np.zeros_like(heat)
            np.moveaxis(sums, axis, 0)[1:-1] = lines[:-2] + lines[2:] + lines[1:-1]
            heat = sums
        heat *= share
    if dtype is np.float32 and ((heat > 0) & (heat < FAINTEST)).any():
        return _mask_flow(mask, cellpose, np.float64)
    heat = heat.astype(np.float64)
    slope = np.zeros((mask.ndim, *framed.shape))
    for axis in range(mask.ndim):
        before, behind = list(places), list(places)
        before[axis], behind[axis] = places[axis] - 1, places[axis] + 1
        slope[axis][places] = heat[tuple(behind)] - heat[tuple(before)]
    steepest = np.abs(slope).max(axis=0)
    slope /= np.where(steepest > 0, steepest, 1)
    length = np.sqrt(sum(along * along for along in slope))
    return np.asarray((slope / np.where(length > 0, length, 1))[(slice(None), *[slice(1, -1)] * mask.ndim)])


def sampled(labels: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Label image of another shape, pixel by pixel."""
    result = np.zeros(shape, np.int32)
    for place in np.ndindex(*shape):
        result[place] = labels[
            tuple(
                math.floor((at + 0.5) * own / length)
                for at, own, length in zip(place, labels.shape, shape, strict=True)
            )
        ]
    return result


def extents(labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Areas and bounding boxes of the objects 1..count."""
    areas = np.zeros(count, dtype=np.int64)
    boxes = np.zeros((count, 2 * labels.ndim), dtype=np.int32)
    for i in range(count):
        places = np.argwhere(labels == i + 1)
        areas[i] = len(places)
        if areas[i]:
            boxes[i] = *places.min(axis=0), *(places.max(axis=0) + 1)
    return areas, boxes


def moments(labels: NDArray[np.int32], logit: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Sums over the pixels of each object: y, x (of a volume z, y, x), cell probability."""
    sums = np.zeros((count, labels.ndim + 1))
    for i in range(count):
        mask = labels == i + 1
        sums[i] = *np.argwhere(mask).sum(axis=0), (1 / (1 + np.exp(-logit[mask].astype(np.float64)))).sum()
    return sums


def fill_holes(labels: NDArray[np.int32], boxes: NDArray[np.int32], order: NDArray[np.int64]) -> None:
    """Give background that an object encloses to that object, in place; outside grows step by step from a frame."""
    if labels.ndim == 3 and len(labels) == 1:
        labels = labels[0]  # one plane is an image
    for i in order:
        solid = np.pad(labels == i + 1, 1)
        outside = np.pad(np.zeros(labels.shape, np.bool_), 1, constant_values=True)
        while True:
            grown = outside.copy()
            for axis in range(labels.ndim):
                to, at = np.moveaxis(grown, axis, 0), np.moveaxis(outside, axis, 0)
                to[1:] |= at[:-1]
                to[:-1] |= at[1:]
            grown &= ~solid
            if np.array_equal(grown, outside):
                break
            outside = grown
        labels[(labels == 0) & ~outside[(slice(1, -1),) * labels.ndim]] = i + 1


def label_components(counts: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """Connected components of the positions with more than so many pixels: labels spread until they stay."""
    dense = counts > least
    labels = np.where(dense, np.arange(1, counts.size + 1).reshape(counts.shape), counts.size + 1)
    while True:
        around = np.pad(labels, 1, constant_values=counts.size + 1)
        windows = np.lib.stride_tricks.sliding_window_view(around, (3,) * counts.ndim)
        lowest = np.where(dense, windows.min(axis=tuple(range(counts.ndim, 2 * counts.ndim))), counts.size + 1)
        if np.array_equal(lowest, labels):
            numbers = np.unique(labels[dense])
            return np.where(dense, np.searchsorted(numbers, labels) + 1, 0).astype(np.int32)
        labels = lowest


def mark_escaped(ends: NDArray[np.int32], outside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The ends of pixels; -2 where they lie at some positions."""
    return np.where((ends >= 0) & outside.ravel()[np.maximum(ends, 0)], -2, ends).astype(np.int32)


def sinks(ends: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """For each pixel the index of its sink, or what it has below 0; the positions of the sinks; the pixels of each."""
    positions, indices, counts = np.unique(ends, return_inverse=True, return_counts=True)
    none = np.searchsorted(positions, 0)
    numbered = np.where(ends < 0, ends, indices.reshape(ends.shape) - none).astype(np.int32)
    return numbered, positions[none:].astype(np.int64), counts[none:].astype(np.int32)


def sum_places(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pixels of each object, and the sums of their coordinates."""
    sums = np.zeros((count, 1 + labels.ndim), np.int64)
    for i in range(count):
        places = np.argwhere(labels == i + 1)
        sums[i] = len(places), *places.sum(axis=0)
    return sums
