"""Mask recovery of an image of any size: the result of `recover_masks`, in blocks on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cellserve.engines import Progress
from cellserve_contract.params import RecoveryParams
from cellserve_contract.warnings import Warnings
from cellserve_postprocess import ObjectTable, stages
from numpy.typing import NDArray

from . import objects, regions, work
from .execution import Runner
from .geometry import Box, Grid
from .regions import Regions
from .run import Description
from .sources import MapSource
from .store import Store
from .work import Job

SIDE = {2: 1024, 3: 128}
"""By the number of axes: side of the blocks, in pixels, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Masks found in an image.

    Attributes:
        objects: the table of objects, as of `measure_objects`.
        grid: blocks of the label image.
        dtype: of the labels: uint16 up to 65,535 objects, else uint32.
        warnings: what to know about the intensities and the result, as the gateway gives it; of `segment` only.
    """

    objects: ObjectTable
    grid: Grid
    dtype: np.dtype[Any]
    _store: Store
    warnings: Warnings = ()

    def read(self, box: Box) -> NDArray[Any]:
        """Returns the labels of a box, 0 is background, 1..N are objects."""
        return self._store.read("masks", "masks", self.grid, box, self.dtype)


def recover(
    maps: MapSource,
    params: RecoveryParams,
    folder: Path,
    *,
    image: Any = None,
    shape: tuple[int, ...] | None = None,
    side: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Recovery:
    """Recover masks from network outputs of any size (paper, "Mask recovery via gradient flow tracking").

    Labels and flow errors are those of `recover_masks` of the whole image, bit for bit, whatever the side of the
    blocks. Sums of probabilities are taken in another order: mean probabilities differ by less than 1e-6.

    Memory is bounded. Each block that is worked on takes about 40 bytes for each pixel of its window. The largest
    object takes 30 bytes for each pixel of its bounding box. Tables take some 200 bytes an object. The folder takes up
    to 12 bytes a pixel while the run lasts, and the labels when it is done.

    Args:
        maps: network outputs, with the axes that `recover_masks` takes.
        params: validated parameters.
        folder: the run folder. If a run was ended in it, at any moment, the same run goes on.
        image: identity of the image and of its maps, anything that JSON can hold. A run goes on with the same only.
        shape: (Y, X) of the label image of an image; that of the maps if left out.
        side: of the blocks, in pixels; SIDE if left out.
        executor: runs the blocks: threads, or workers that share the folder; the calling thread alone if left out.
        progress: told about blocks that are done.

    Raises:
        ValueError: The label image of a volume has another shape than its maps.
        FolderBusyError: Another run works in the folder.
        OtherRunError: The folder holds a run of another image, or with other parameters.
        DiskFullError: The folder has no room. What is there stays; the run can go on.
    """
    label_shape = tuple(maps.shape) if shape is None else shape
    if len(label_shape) == 3 and label_shape != tuple(maps.shape):
        raise ValueError(
            f"the label image of a volume has the shape of its maps, {tuple(maps.shape)}, not {label_shape}"
        )
    params = params.resolved(len(label_shape))
    side = side or SIDE[len(label_shape)]
    with Description(image, tuple(maps.shape), label_shape, params, side).opened(Store(folder)) as store:
        grid = Grid.regular(maps.shape, side)
        return recover_all(Job(store, maps, params, grid, grid.sampled(label_shape)), Runner(executor, progress))


def recover_all(job: Job, runner: Runner) -> Recovery:
    """Recover masks in a run folder that is open."""
    return _Run(job, runner).result()


@dataclass(frozen=True, slots=True)
class _Run:
    """The stages in order. Between them, tables of all blocks are joined in this process."""

    job: Job
    runner: Runner

    def result(self) -> Recovery:
        store = self.job.store
        if not store.has("result", "objects"):
            if not store.has("objects", "large enough"):
                self._find()
            for stage in ("sinks", "regions", "numbering"):
                store.drop(stage)
            self._measure()
            self._finish()
        for stage in ("objects", "labels", "measured"):
            store.drop(stage)
        for stage in ("masks", "result"):
            store.sweep(stage)
        columns = ObjectTable.__slots__
        table = ObjectTable(**dict(zip(columns, store.load("result", "objects", *columns), strict=True)))
        return Recovery(table, self.job.label_grid, work.label_type(len(table)), store)

    def _each(self, name: str, function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
        """Do a stage for every block."""
        self.runner.each(name, function, [(self.job, *some) for some in arguments])

    def _find(self) -> None:
        """Sinks, regions and labels of all blocks; then the objects that are large enough, and not too large."""
        job, store, blocks = self.job, self.job.store, range(len(self.job.grid))
        self._each("follow", work.follow, [(block,) for block in blocks])
        targets = [store.load("sinks", block, "blocks")[0].tolist() for block in blocks]
        ending_in = inverse(targets)
        halo = regions.halo(job.rule)
        sources = [
            sorted({s for near in self._near(job.grid.box(block), halo) for s in ending_in[near]}) for block in blocks
        ]
        self._each("regions", work.find_regions, [(block, sources[block]) for block in blocks])
        names = Regions.__slots__
        joined = ("seeds", "seed_keys", "founders", "border", "border_keys")
        empty = {name: np.empty(0, np.int64) for name in names}
        numbering = regions.number_regions(
            [Regions(**{**empty, **dict(zip(joined, store.load("regions", b, *joined), strict=True))}) for b in blocks]
        )
        store.save("numbering", "keys", numbers=numbering.numbers, offsets=numbering.offsets)
        self._each("label", work.label, [(block, targets[block]) for block in blocks])
        self._choose(numbering.objects)

    def _near(self, box: Box, halo: int) -> list[int]:
        return self.job.grid.overlapping(box.grown(halo, self.job.grid.shape))

    def _choose(self, count: int) -> None:
        """Drop objects by their size and place, and give the others to the blocks they begin in."""
        job, store, blocks = self.job, self.job.store, range(len(self.job.grid))
        axes, shape, params = len(job.grid.shape), job.label_grid.shape, job.params
        tables = (objects.Extents(*store.load("labels", block, "numbers", "areas", "boxes")) for block in blocks)
        areas, boxes = objects.join_extents(tables, count, axes)
        spans = boxes
        if job.sampled:
            parts = (store.load("labels", block, "span_numbers", "spans") for block in blocks)
            tables = (objects.Extents(numbers, np.ones(numbers.size, np.int64), span) for numbers, span in parts)
            spans = objects.join_extents(tables, count, axes)[1]
        wanted = (areas >= max(1, job.min_size)) & (areas <= params.max_size_fraction * np.prod(shape, dtype=np.int64))
        if params.exclude_on_edges:
            sides = [axes - 2, axes - 1]  # of a volume, those of its planes
            low, high = boxes[:, :axes], boxes[:, axes:]
            wanted &= (low[:, sides] > 0).all(axis=1) & (high[:, sides] < shape[-2:]).all(axis=1)
        numbers = np.flatnonzero(wanted) + 1
        owners = job.grid.blocks_at(tuple(spans[wanted, :axes].T))
        order = np.argsort(owners, kind="stable")
        store.save(
            "objects",
            "large enough",
            wanted=wanted,
            areas=areas,
            boxes=boxes,
            spans=spans,
            order=numbers[order].astype(np.int32),
            offsets=np.searchsorted(owners[order], np.arange(len(job.grid) + 1)),
        )

    def _measure(self) -> None:
        """Flow errors, and the numbers of the objects that are kept."""
        job, store = self.job, self.job.store
        wanted, areas, offsets = store.load("objects", "large enough", "wanted", "areas", "offsets")
        owners = np.flatnonzero(np.diff(offsets)).tolist()
        self._each("measure", work.measure, [(block,) for block in owners])
        errors = np.zeros(wanted.size, np.float32)
        sums = np.zeros(wanted.size)
        for block in owners:
            numbers, some_errors, some_sums = store.load("measured", block, "numbers", "errors", "sums")
            errors[numbers - 1], sums[numbers - 1] = some_errors, some_sums
        assert job.params.flow_threshold is not None  # resolved
        if job.params.flow_threshold > 0:
            wanted &= errors <= job.params.flow_threshold
        if len(job.grid.shape) == 3 and wanted.any():
            wanted &= areas >= job.params.min_volume_fraction * np.median(areas[wanted])
        final = np.zeros(wanted.size + 1, np.int32)
        final[1:][wanted] = np.arange(1, np.count_nonzero(wanted) + 1)
        store.save("objects", "kept", wanted=wanted, errors=errors[wanted], sums=sums[wanted], final=final)

    def _finish(self) -> None:
        """Final labels and the table of objects."""
        job, store, blocks = self.job, self.job.store, range(len(self.job.grid))
        offsets, boxes = store.load("objects", "large enough", "offsets", "boxes")
        holes = [store.load("measured", b, "blocks")[0].tolist() if offsets[b] < offsets[b + 1] else [] for b in blocks]
        sources = inverse(holes)
        self._each("finish", work.finish, [(block, sources[block]) for block in blocks])
        wanted, errors, probabilities = store.load("objects", "kept", "wanted", "errors", "sums")
        axes = len(job.grid.shape)
        sums = np.zeros((errors.size, 1 + axes), np.int64)
        for block in blocks:
            numbers, some, filled, more = store.load("masks", block, "numbers", "sums", "filled", "probabilities")
            sums[numbers - 1] += some
            np.add.at(probabilities, filled - 1, more)
        area = sums[:, 0]
        table = ObjectTable(
            label=np.arange(1, area.size + 1, dtype=np.uint32),
            bbox=boxes[wanted],
            centroid=(sums[:, 1:] / area[:, np.newaxis]).astype(np.float32),
            area=area,
            equivalent_diameter_area=stages.equivalent_diameter(area, axes),
            mean_probability=(probabilities / area).astype(np.float32),
            flow_error=errors,
        )
        store.save("result", "objects", **{name: getattr(table, name) for name in ObjectTable.__slots__})


def inverse(targets: Iterable[Iterable[int]]) -> defaultdict[int, list[int]]:
    """Returns for each target the sources that name it, ascending."""
    sources: defaultdict[int, list[int]] = defaultdict(list)
    for source, some in enumerate(targets):
        for target in some:
            sources[target].append(source)
    return sources
