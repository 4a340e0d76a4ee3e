"""Fill around an image that no memory holds: what `border_fill` finds in the whole, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from cellserve_preprocess.border import Content, frame_value, planes_of_fill
from numpy.typing import NDArray

from .execution import Runner
from .geometry import Box
from .pixels import Pixels
from .union import union


@dataclass(frozen=True, slots=True)
class Fill:
    """Fill around an image.

    Attributes:
        value: Intensity of the fill.
        pixels: Number of its pixels.
        planes: Planes of the stack with fill.
    """

    value: float
    pixels: int
    planes: list[int]

    def read(self, pixels: Pixels, plane: int, box: Box) -> NDArray[np.bool_]:
        """Returns which pixels of a box are fill, bool [Z, Y, X]."""
        result = np.zeros(box.shape, np.bool_)
        with_fill = np.zeros(pixels.grid.shape[0], np.bool_)
        with_fill[self.planes] = True
        for block in pixels.grid.overlapping(box):
            own = pixels.grid.box(block)
            part = own.common(box)
            if not with_fill[slice(*part.span(0))].any():
                continue
            (bits,) = pixels.store.load(_stage("fill", plane), block, "fill")
            if bits.size:
                fill = np.unpackbits(bits, count=own.size).reshape(own.shape).view(np.bool_)
                result[part.within(box)] = fill[part.within(own)]
        result[~with_fill[slice(*box.span(0))]] = False
        return result


def find_fill(pixels: Pixels, plane: int, runner: Runner) -> Fill | None:
    """Finds the fill around a plane or stack in the run folder.

    Pixels of the value that may be fill are labelled in each block, and labels are joined where blocks meet. Labels
    that reach the border of the image are fill.
    """
    values = _frame_values(pixels, plane)
    present = [z for z, value in enumerate(values) if value is not None]
    if not present:
        return None
    store, grid = pixels.store, pixels.grid
    candidates = np.zeros(len(values), pixels.dtype)
    candidates[present] = [values[z] for z in present]
    where = np.zeros(len(values), np.bool_)
    where[present] = True
    store.save(_stage("candidates", plane), "all", values=candidates, present=where)
    slabs = [slab for slab in _slabs(pixels) if where[slab[0].start[0] : slab[0].stop[0]].any()]
    blocks = [block for _, slab in slabs for block in slab.ravel().tolist()]
    runner.each("border", label_block, [(pixels, plane, block) for block in blocks])
    outlines = np.zeros(len(values), np.int64)
    for box, slab in slabs:
        outlines[box.start[0] : box.stop[0]] += _join(pixels, plane, slab)
    runner.each("border", fill_block, [(pixels, plane, block) for block in blocks])
    _, height, width = grid.shape
    areas = np.zeros(len(values), np.int64)
    low = np.full((len(values), 2), max(height, width))
    high = np.zeros((len(values), 2), np.int64)
    for block in blocks:
        box = grid.box(block)
        some = slice(box.start[0], box.stop[0])
        own_areas, own_low, own_high, own_outlines = store.load(
            _stage("fill", plane), block, "areas", "low", "high", "outlines"
        )
        areas[some] += own_areas
        outlines[some] += own_outlines
        low[some] = np.minimum(low[some], own_low)
        high[some] = np.maximum(high[some], own_high)
    found: list[float | None] = [None] * len(values)
    for z in present:
        rows, columns = (high[z] - low[z]).tolist()
        if Content((height, width), int(areas[z]), (rows, columns), int(outlines[z])).is_image:
            found[z] = float(candidates[z]) + 0.0
    planes, value = planes_of_fill(found)
    for stage in ("candidates", "labels", "outside"):
        store.drop(_stage(stage, plane))
    return None if value is None else Fill(value, int((height * width - areas[planes]).sum()), planes)


def label_block(pixels: Pixels, plane: int, block: int) -> None:
    """Label the pixels of a block that may be fill, as far as its edges tell."""
    stage = _stage("labels", plane)
    if pixels.store.has(stage, block):
        return
    box = pixels.grid.box(block)
    depth, height, width = box.shape
    rows, columns = np.zeros((2, depth, width), np.int32), np.zeros((2, depth, height), np.int32)
    count = 0
    for z, labels, numbers in _labelled(pixels, plane, block):
        own = numbers[labels]
        rows[:, z], columns[:, z] = own[[0, -1]], own[:, [0, -1]].T
        count = int(numbers.max(initial=count))
    pixels.store.save(stage, block, rows=rows, columns=columns, count=np.array([count]))


def fill_block(pixels: Pixels, plane: int, block: int) -> None:
    """Find the fill of a block, given the labels that are fill, and measure what it surrounds."""
    stage = _stage("fill", plane)
    if pixels.store.has(stage, block):
        return
    box = pixels.grid.box(block)
    (outside,) = pixels.store.load(_stage("outside", plane), block, "outside")
    fill = np.zeros(box.shape, np.bool_)
    if outside.any():
        for z, labels, numbers in _labelled(pixels, plane, block):
            fill[z] = outside[numbers][labels]
    content = ~fill
    low = np.full((box.shape[0], 2), max(pixels.grid.shape))
    high = np.zeros((box.shape[0], 2), np.int64)
    for z, inner in enumerate(content):
        for axis in range(2):
            there = np.flatnonzero(inner.any(axis=1 - axis))
            if there.size:
                low[z, axis], high[z, axis] = there[[0, -1]] + box.start[1 + axis] + np.array([0, 1])
    outlines = np.count_nonzero(content[:, 1:] != content[:, :-1], axis=(1, 2))
    outlines += np.count_nonzero(content[:, :, 1:] != content[:, :, :-1], axis=(1, 2))
    bits = np.packbits(fill) if outside.any() else np.empty(0, np.uint8)
    areas = np.count_nonzero(content, axis=(1, 2))
    pixels.store.save(stage, block, fill=bits, areas=areas, low=low, high=high, outlines=outlines)


def _frame_values(pixels: Pixels, plane: int) -> list[np.generic | None]:
    """Returns the value that the fill of each plane of the stack may have."""
    _, height, width = pixels.grid.shape
    found: list[np.generic | None] = []
    for first, last in pairwise(pixels.grid.edges[0]):

        def line(axis: int, place: int, first: int = first, last: int = last) -> NDArray[Any]:
            start, stop = [first, 0, 0], [last, height, width]
            start[axis], stop[axis] = place, place + 1
            pixels_of_line: NDArray[Any] = pixels.read(Box(tuple(start), tuple(stop)))[plane]
            return np.squeeze(pixels_of_line, axis)

        lines = line(1, 0), line(2, width - 1), line(1, height - 1), line(2, 0)
        found += [frame_value(*(some[z] for some in lines)) for z in range(last - first)]
    return found


def _slabs(pixels: Pixels) -> Iterator[tuple[Box, NDArray[np.int64]]]:
    """Yields the blocks of the same planes of the stack, int64 [rows, columns], and the box of the first one."""
    for slab in np.arange(len(pixels.grid)).reshape(pixels.grid.counts):
        yield pixels.grid.box(int(slab[0, 0])), slab


def _labelled(pixels: Pixels, plane: int, block: int) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int32]]]:
    """Yields the planes of a block that may have fill: z, labels [Y, X] of the pixels of its value, and a table.

    The table, int32 [labels], numbers the labels that reach the edges of the block, from 1 in all of its planes.
    """
    box = pixels.grid.box(block)
    some = slice(box.start[0], box.stop[0])
    values, present = (
        array[some] for array in pixels.store.load(_stage("candidates", plane), "all", "values", "present")
    )
    count = 0
    for z, values_of_plane in enumerate(pixels.block(block, plane)):
        if present[z]:
            equal = (values_of_plane == values[z]).view(np.uint8)
            labelled, labels = cv2.connectedComponents(equal, connectivity=4, ltype=cv2.CV_32S)
            edges = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
            edges = edges[edges > 0]
            numbers = np.zeros(labelled, np.int32)
            numbers[edges] = np.arange(count + 1, count + 1 + edges.size)
            count += edges.size
            yield z, labels, numbers


def _join(pixels: Pixels, plane: int, slab: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write which labels of each block of a slab are fill; returns the outline that lies between blocks, by plane."""
    store = pixels.store
    rows, columns, counts = {}, {}, {}
    offset = 0
    for block in slab.ravel().tolist():
        own_rows, own_columns, (count,) = store.load(_stage("labels", plane), block, "rows", "columns", "count")
        counts[block] = (offset, int(count))
        rows[block], columns[block] = (np.where(some, some + offset, 0) for some in (own_rows, own_columns))
        offset += int(count)
    beside = [(columns[a][1], columns[b][0]) for line in slab for a, b in pairwise(line.tolist())]
    beside += [(rows[a][1], rows[b][0]) for line in slab.T for a, b in pairwise(line.tolist())]
    border = [columns[block][end] for end in (0, -1) for block in slab[:, end].tolist()]
    border += [rows[block][end] for end in (0, -1) for block in slab[end].tolist()]
    first, second = (np.concatenate([np.empty(0, np.int64), *(p[side].ravel() for p in beside)]) for side in (0, 1))
    both = (first > 0) & (second > 0)
    roots = union(offset + 1, first[both], second[both])
    outside = np.isin(roots, roots[np.unique(np.concatenate([some.ravel() for some in border]))])
    outside[0] = False
    for block, (begin, count) in counts.items():
        table = np.concatenate([[False], outside[begin + 1 : begin + 1 + count]])
        store.save(_stage("outside", plane), block, outside=table)
    outlines = np.zeros(len(border[0]), np.int64)
    for a, b in beside:
        outlines += (outside[a] != outside[b]).sum(axis=1)
    for some in border:
        outlines += (~outside[some]).sum(axis=1)
    return outlines


def _stage(name: str, plane: int) -> str:
    return f"{name}-{plane}"
