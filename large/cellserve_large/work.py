"""What is done with one block in each stage. Every function reads results of earlier stages and writes its own.

A result that is there is not computed again: a run that was killed goes on where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_postprocess import stages
from cellserve_preprocess import resize_region, source_region
from numpy.typing import NDArray

from . import objects, regions
from .following import destinations, follow_block
from .geometry import Box, Grid, centres
from .objects import Holes, Sample
from .sources import MapSource
from .store import Store


@dataclass(frozen=True, slots=True)
class Job:
    """What workers need to know. A job can be pickled.

    Attributes:
        store: the run folder.
        maps: network outputs.
        params: validated parameters.
        grid: blocks of the maps.
        label_grid: the same blocks in the label image.
    """

    store: Store
    maps: MapSource
    params: RecoveryParams
    grid: Grid
    label_grid: Grid

    @property
    def sampled(self) -> bool:
        """Whether the label image is smaller than the maps."""
        return self.grid.shape != self.label_grid.shape

    @property
    def min_size(self) -> int:
        """Pixels of the smallest object."""
        assert self.params.min_size is not None  # resolved
        return self.params.min_size

    @property
    def rule(self) -> stages.SeedRule:
        """Where objects are founded."""
        pixels, labels = math.prod(self.grid.shape), math.prod(self.label_grid.shape)
        return stages.seed_rule(self.params, self.min_size * pixels // max(1, labels))


def follow(job: Job, block: int) -> None:
    """Follow the pixels of a block to their sinks."""
    if job.store.has("sinks", block):
        return
    ends = follow_block(job.maps, job.grid.box(block), job.params)
    blocks = destinations(ends, job.grid)
    job.store.save("sinks", block, sinks=ends.sinks, positions=ends.positions, counts=ends.counts, blocks=blocks)


def find_regions(job: Job, block: int, sources: list[int]) -> None:
    """Find the regions in a block, given the blocks whose pixels end in it or near."""
    if job.store.has("regions", block):
        return
    box, shape = job.grid.box(block), job.grid.shape
    window = box.grown(regions.halo(job.rule), shape)
    counts = np.zeros(window.shape, np.int32)
    for source in sources:
        positions, more = job.store.load("sinks", source, "positions", "counts")
        places = window.from_image(positions, shape)
        np.add.at(counts.ravel(), places[places >= 0], more[places >= 0])
    found = regions.find_regions(counts, window, box, shape, job.rule)
    job.store.save("regions", block, **{name: getattr(found, name) for name in regions.Regions.__slots__})


def label(job: Job, block: int, targets: list[int]) -> None:
    """Label the pixels of a block by the objects they end in, given the blocks in which they end."""
    if job.store.has("labels", block):
        return
    (positions,) = job.store.load("sinks", block, "positions")
    numbers = np.zeros(positions.size + 1, np.int32)  # the last one is for pixels without a sink
    blocks = job.grid.blocks_of(positions)
    all_numbers = job.store.map("numbering", "keys", "numbers")
    offsets = job.store.map("numbering", "keys", "offsets")
    for target in targets:
        holders = job.grid.overlapping(job.grid.box(target).grown(job.rule.reach, job.grid.shape))
        tables = [job.store.load("regions", holder, "positions", "keys") for holder in holders]
        known = np.concatenate([known for known, _ in tables])
        found = np.concatenate(
            [all_numbers[offsets[i] : offsets[i + 1]][keys] for i, (_, keys) in zip(holders, tables, strict=True)]
        )
        here = np.flatnonzero(blocks == target)
        numbers[here] = regions.look_up(positions[here], known, found)
    present, places = objects.local_numbers(numbers)
    (labels,) = job.store.load("sinks", block, "sinks")
    stages.renumber(labels, places)
    box, images = job.grid.box(block), {"labels": labels}
    extents = spans = objects.measure_block(labels, present[1:], box)
    if job.sampled:
        small = job.label_grid.box(block)
        images["sampled"] = np.ascontiguousarray(labels[np.ix_(*_centres(job, small, box))])
        extents = objects.measure_block(images["sampled"], present[1:], small)
    for image in images.values():
        stages.renumber(image, present)
    job.store.save(
        "labels",
        block,
        **images,
        numbers=extents.numbers,
        areas=extents.areas,
        boxes=extents.boxes,
        span_numbers=spans.numbers,
        spans=spans.boxes,
    )


def measure(job: Job, block: int) -> None:
    """Measure flow errors, probabilities and holes of the objects that begin in a block."""
    if job.store.has("measured", block):
        return
    first, last = job.store.map("objects", "large enough", "offsets")[block : block + 2]
    numbers = np.array(job.store.map("objects", "large enough", "order")[first:last])
    spans = job.store.map("objects", "large enough", "spans")[numbers - 1]
    boxes = job.store.map("objects", "large enough", "boxes")[numbers - 1]
    axes = len(job.grid.shape)
    large = ((spans[:, axes:] - spans[:, :axes]) > max(job.grid.box(0).shape) // 4).any(axis=1)
    errors, sums = np.zeros(numbers.size, np.float32), np.zeros(numbers.size)
    holes = [Holes(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))]
    # Large objects one by one: a box around all of them has no bound.
    for group in [np.flatnonzero(~large), *np.flatnonzero(large)[:, np.newaxis]]:
        if group.size:
            errors[group], sums[group], found = _measure(job, numbers[group], spans[group], boxes[group])
            holes.append(found)
    positions = np.concatenate([part.positions for part in holes])
    job.store.save(
        "measured",
        block,
        numbers=numbers,
        errors=errors,
        sums=sums,
        hole_positions=positions,
        hole_numbers=np.concatenate([part.numbers for part in holes]),
        hole_probabilities=np.concatenate([part.probabilities for part in holes]),
        blocks=np.unique(job.label_grid.blocks_of(positions)),
    )


def _measure(
    job: Job, numbers: NDArray[np.int32], spans: NDArray[np.int32], boxes: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float64], Holes]:
    box = Box.around(spans)
    labels = objects.select(job.store.read("labels", "labels", job.grid, box, np.int32), numbers)
    maps = job.maps.read(box)
    errors = stages.flow_errors(labels, spans - np.array(2 * box.start, np.int32), maps, job.params)
    assert job.params.flow_threshold is not None  # resolved
    kept = errors <= job.params.flow_threshold if job.params.flow_threshold > 0 else np.ones(numbers.size, np.bool_)
    sample = Sample(box, labels, maps[-1])
    if job.sampled:
        small = Box.around(boxes)
        sampled = objects.select(job.store.read("labels", "sampled", job.label_grid, small, np.int32), numbers)
        sample = Sample(small, sampled, read_logit(job, small))
    objects.select(sample.labels, np.flatnonzero(kept).astype(np.int32) + 1)
    sums = np.zeros(numbers.size)
    sums[kept], holes = objects.measure_holes(
        sample, numbers[kept], boxes[kept], job.label_grid.shape, job.params.fill_holes
    )
    return errors, sums, holes


def read_logit(job: Job, box: Box) -> NDArray[np.float32]:
    """Returns the logit of a box of the label image, that of the maps resized to the label image."""
    if not job.sampled:
        logit: NDArray[np.float32] = job.maps.read(box)[-1]
        return logit
    (own_height, own_width), (height, width) = job.grid.shape, job.label_grid.shape  # of an image, never of a volume
    source, target, region = (own_height, own_width), (height, width), (slice(*box.span(0)), slice(*box.span(1)))
    rows, columns = source_region(source, target, region)
    window = job.maps.read(Box((rows.start, columns.start), (rows.stop, columns.stop)))[-1]
    return resize_region(window, (rows.start, columns.start), source, target, region)


def finish(job: Job, block: int, sources: list[int]) -> None:
    """Write the final labels of a block, given the blocks whose objects may have holes in it."""
    if job.store.has("masks", block):
        return
    box, shape = job.label_grid.box(block), job.label_grid.shape
    labels, inside = job.store.load("labels", block, "sampled" if job.sampled else "labels", "numbers")
    final = job.store.map("objects", "kept", "final")
    tables = [job.store.load("measured", s, "hole_positions", "hole_numbers", "hole_probabilities") for s in sources]
    positions, numbers, probabilities = (
        np.concatenate([np.empty(0, dtype), *columns])
        for dtype, columns in zip(
            (np.int64, np.int32, np.float64), list(zip(*tables, strict=True)) or [()] * 3, strict=True
        )
    )
    boxes = job.store.map("objects", "large enough", "boxes")[numbers - 1].astype(np.int64)
    axes = len(shape)
    sizes = np.prod(boxes[:, axes:] - boxes[:, :axes], axis=1)
    present, places = objects.local_numbers(final[np.concatenate([inside, numbers])])
    table = np.zeros(int(inside.max(initial=0)) + 1, np.int32)
    table[inside] = places[: inside.size]
    stages.renumber(labels, table)
    filled = objects.fill_block(labels, box, shape, Holes(positions, places[inside.size :], probabilities), sizes)
    sums = objects.sum_block(labels, present.size - 1, box)
    stages.renumber(labels, present)
    job.store.save(
        "masks",
        block,
        masks=labels.astype(label_type(job.store.map("objects", "kept", "errors").size)),
        numbers=present[1:],
        sums=sums,
        filled=present[filled.numbers],
        probabilities=filled.probabilities,
    )


def label_type(count: int) -> np.dtype[Any]:
    """Returns the type of the labels of so many objects, as of `recover_masks`."""
    return np.dtype(np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32)


def _centres(job: Job, labels: Box, maps: Box) -> list[NDArray[np.int64]]:
    """Along each axis, the pixels of a box of the maps that the pixels of a box of the label image are read at."""
    return [
        centres(own, length)[first:last] - origin
        for own, length, first, last, origin in zip(
            job.grid.shape, job.label_grid.shape, labels.start, labels.stop, maps.start, strict=True
        )
    ]
