"""Stacks: objects in three dimensions, objects joined from plane to plane, or the objects of each plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import numpy as np
from cellserve_contract.warnings import WarningKind
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    FLOW_SCALE,
    ObjectTable,
    Stitcher,
    ViewSums,
    measure_extents,
    measure_objects,
    recover_masks,
    smooth_view,
    trace_outlines,
    view_rule,
)
from cellserve_preprocess import resize
from numpy.typing import NDArray

from .context import RequestContext
from .pipeline import Pipeline
from .results import Outlines, Segmentation, Wanted
from .stack_plan import StackPlan, View
from .tasks import run_together

Maps = NDArray[np.float32]

SECTIONS_AHEAD = 4
"""Sections of a stack in work at a time: while the tiles of one are computed, others are cut and added."""

SMALLEST_SECTION = 11
"""Pixels of the smallest mask of a plane before masks are joined: `min_size` counts the voxels of whole objects, whose
tips are smaller. Even fewer pixels would found objects by another rule; see `min_size`. Cellpose 3.1 has no bound."""


class StackSegmenter:
    """Segments stacks section by section. The memory of the work is that of `StackPlan.bytes`, whatever the tiles."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def segment(
        self, channels: NDArray[np.float32], plan: StackPlan, wanted: Wanted, context: RequestContext
    ) -> Segmentation:
        """Segments a stack.

        Args:
            channels: float32 [2, Z, Y, X], normalised.
            plan: The execution plan.
            wanted: Parts wanted in the result.
            context: Its timing is filled in.

        Raises:
            ServiceError: See its subclasses.
        """
        run, group = self._pipeline.workers.run, self._pipeline.workers.group(context)
        sections = [len(view.sections.used) for view in plan.views]
        tiles = sum(count * len(view.plan.grid) for count, view in zip(sections, plan.views, strict=True))
        context.progress.plan(sum(sections), tiles)
        parts = (_Volume if plan.params.stack_mode == "volume" else _Planes).empty(plan, wanted)
        for view in plan.views:  # one after the other: the order of the sums is the same every time
            with self._pipeline.stage(context, "inference"):
                await self._each_section(channels, view, parts.add, context)
            with self._pipeline.stage(context, "reassemble"):
                await run(context, parts.end_view, view, group)
        with self._pipeline.stage(context, "postprocess"):
            result = await run(context, parts.join, group)
        metrics, voxels = self._pipeline.instruments.metrics, math.prod(plan.shape)
        metrics.pixels.inc(voxels)
        metrics.image_pixels.observe(voxels)
        metrics.objects.inc(len(result.objects))
        return result

    async def _each_section(
        self,
        channels: NDArray[np.float32],
        view: View,
        use: Callable[[View, int, Maps, ThreadGroup], None],
        context: RequestContext,
    ) -> None:
        """Calls a function on a worker thread with the maps of each section, several sections at a time."""
        pipeline, plan, run = self._pipeline, view.plan, self._pipeline.workers.run
        window, sections = pipeline.window(plan.network), iter(view.sections.used)

        async def work() -> None:
            for index in sections:
                section = await run(context, view.cut, channels, index)
                outputs = await pipeline.infer(section, plan.grid, plan.network, ("maps",), context, window)
                maps = await pipeline.assemble(outputs, plan.recovered, context)
                await run(context, use, view, index, maps, pipeline.workers.group(context))
                context.progress.sections_done += 1

        await run_together(work() for _ in range(SECTIONS_AHEAD))


@dataclass(slots=True)
class _Volume:
    """Objects in three dimensions (paper, "3D models").

    Attributes:
        view: float32 [3, Z, Y, X], the maps of the view in work. Empty once all views are complete.
        sums: The views that are complete.
        placing: Two sections may add to the same plane of the view.
    """

    plan: StackPlan
    wanted: Wanted
    view: Maps
    sums: ViewSums
    placing: Lock = field(default_factory=Lock)

    @classmethod
    def empty(cls, plan: StackPlan, wanted: Wanted) -> _Volume:
        return cls(plan, wanted, np.zeros((3, *plan.shape), np.float32), ViewSums(plan.shape))

    def add(self, view: View, index: int, maps: Maps, threads: ThreadGroup) -> None:
        with self.placing:
            view.place(index, maps, self.view)

    def end_view(self, view: View, threads: ThreadGroup) -> None:
        sigma, weight = view_rule(view.across, self.plan.params)
        self.sums.add(smooth_view(self.view, view.across, sigma, threads), view.across, weight, threads)
        if view is self.plan.views[-1]:
            self.view = np.empty((3, 0, 0, 0), np.float32)  # room for the recovery
        else:
            self.view.fill(0)

    def join(self, threads: ThreadGroup) -> Segmentation:
        maps = self.sums.maps(threads, mean=not self.plan.params.sum_views)
        if self.wanted.maps_only:
            return _segmentation(self.plan, self.wanted, maps)
        recovered = recover_masks(maps, self.plan.params, threads)
        objects = measure_objects(recovered.labels, maps[3], recovered.flow_errors, threads)
        outlines = _outlines(recovered.labels, len(objects), threads) if "outlines" in self.wanted.outputs else None
        return _segmentation(self.plan, self.wanted, maps, recovered.labels, objects, outlines)


@dataclass(frozen=True, slots=True)
class _Planes:
    """The objects of each plane, joined from plane to plane if the mode says so.

    Attributes:
        labels: int32 [Z, Y, X], the objects of each plane from 1.
        maps: float32 [3, Z, Y, X]: flows along y and x, and logit; the logit alone if nobody wants the flows.
        errors: Flow errors of the objects of each plane.
    """

    plan: StackPlan
    wanted: Wanted
    labels: NDArray[np.int32]
    maps: Maps
    errors: list[NDArray[np.float32]]

    @classmethod
    def empty(cls, plan: StackPlan, wanted: Wanted) -> _Planes:
        components = 3 if wanted.maps_only or wanted.outputs & {"flows", "maps"} else 1
        maps = np.zeros((components, *plan.shape), np.float32)
        errors = [np.empty(0, np.float32)] * plan.shape[0]
        return cls(plan, wanted, np.zeros(plan.shape, np.int32), maps, errors)

    def add(self, view: View, index: int, maps: Maps, threads: ThreadGroup) -> None:
        params, shape = self.plan.params, view.plan.shape
        self.maps[:, index] = resize(maps[-len(self.maps) :], shape, threads)
        if self.wanted.maps_only:
            return
        if params.stack_mode == "stitch":
            assert params.min_size is not None  # resolved
            smallest = 0 if params.mask_rules == "cellpose3" else SMALLEST_SECTION
            params = replace(params, min_size=min(params.min_size, smallest))
        recovered = recover_masks(maps, params, threads, shape)
        self.labels[index], self.errors[index] = recovered.labels, recovered.flow_errors

    def end_view(self, view: View, threads: ThreadGroup) -> None:
        """There is one view only."""

    def join(self, threads: ThreadGroup) -> Segmentation:
        if self.wanted.maps_only:
            return _segmentation(self.plan, self.wanted, self.maps)
        stitches = self.plan.params.stack_mode == "stitch"
        numbers = self._stitched() if stitches else _in_one_row([len(errors) for errors in self.errors])
        of_sections, errors = np.concatenate(numbers), np.concatenate(self.errors)
        areas = np.concatenate([self._areas(z, threads) for z in range(len(self.labels))])
        for plane, own in zip(self.labels, numbers, strict=True):
            plane[:] = np.concatenate([[0], own])[plane]
        count = int(of_sections.max(initial=0))
        totals = np.bincount(of_sections, areas, count + 1)[1:]
        errors = (np.bincount(of_sections, areas * errors, count + 1)[1:] / totals).astype(np.float32)
        short = count <= np.iinfo(np.uint16).max
        labels = self.labels.astype(np.uint16) if short else self.labels.astype(np.uint32)
        objects = measure_objects(self.labels, self.maps[-1], errors, threads)
        if not stitches:  # discs in a plane, not balls
            discs = (2 * np.sqrt(objects.area / np.pi)).astype(np.float32)
            objects = replace(objects, equivalent_diameter_area=discs)
        outlines = _outlines(self.labels, count, threads) if "outlines" in self.wanted.outputs else None
        return _segmentation(self.plan, self.wanted, self.maps, labels, objects, outlines)

    def _stitched(self) -> list[NDArray[np.int64]]:
        """Returns the numbers in the stack of the objects of each plane, joined from plane to plane; 0: dropped."""
        params = self.plan.params
        assert params.min_size is not None  # resolved
        stitcher = Stitcher(params.stitch_threshold, params.mask_rules)
        for plane in self.labels:
            stitcher.add(plane)
        stitched = stitcher.finish(params.min_size, params.min_volume_fraction)
        return [part.astype(np.int64) for part in np.split(stitched.numbers, stitched.starts[1:-1])]

    def _areas(self, z: int, threads: ThreadGroup) -> NDArray[np.int64]:
        areas, _ = measure_extents(self.labels[z], len(self.errors[z]), threads)
        return areas


def _in_one_row(counts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Returns the numbers of the objects of each plane if all objects are numbered in one row."""
    ends = np.cumsum(counts)
    return [np.arange(end - count + 1, end + 1) for count, end in zip(counts, ends.tolist(), strict=True)]


def _outlines(labels: NDArray[Any], count: int, threads: ThreadGroup) -> Outlines:
    """Returns the outlines of objects 1..count in each plane that shows them."""
    outlines: list[dict[int, NDArray[np.int32]]] = [{} for _ in range(count)]
    for z, plane in enumerate(labels):
        for number, points in enumerate(trace_outlines(plane, threads)):
            if len(points):
                outlines[number][z] = points
    return outlines


def _segmentation(
    plan: StackPlan,
    wanted: Wanted,
    maps: Maps,
    labels: NDArray[np.uint16] | NDArray[np.uint32] | None = None,
    objects: ObjectTable | None = None,
    outlines: Outlines | None = None,
) -> Segmentation:
    """Returns the result of a stack; without labels, its maps alone."""
    nothing = objects is not None and not len(objects)
    largest = {"largest_logit": f"{float(maps[-1].max()):.3g}"}
    return Segmentation(
        labels=labels,
        objects=ObjectTable.empty(axes=3) if objects is None else objects,
        params=plan.params,
        diameter_source=plan.diameter_source,
        network=plan.views[0].plan.network,
        outlines=outlines,
        flows=maps[:-1] / np.float32(FLOW_SCALE) if "flows" in wanted.outputs else None,
        cell_probability=maps[-1] if "cell_probability" in wanted.outputs else None,
        maps=maps if wanted.maps_only or "maps" in wanted.outputs else None,
        warnings=((WarningKind.NOTHING_FOUND, largest),) if nothing else (),
    )
