"""The diameter of the objects of an image, estimated in two steps (paper, "Test time resizing").

First the size model predicts it from the style of the image in its own size. Then network 0 segments the image at that
scale, and the median diameter of what it finds is the estimate; if it finds nothing, the prediction is.

A prediction that is far off shows in the second step. If the objects are much larger or smaller than predicted, the
second step is repeated at their size. If few foreground pixels became objects, network 0 first segments copies of the
image, from the smallest on. Then the second step is repeated at the size found in the copy whose objects explain most.

A caller who leaves the diameter open cannot be blamed for it: an estimate that would enlarge the image beyond the
gateway's limits is raised until the image fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warned, WarningKind, Warnings
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    LARGEST_DIAMETER,
    SMALLEST_DIAMETER,
    RecoveryParams,
    SizeModel,
    bounded_diameter,
    explained_share,
    median_diameter,
    recover_masks,
    style_grid,
)
from cellserve_preprocess import TILE, resize
from numpy.typing import NDArray

from .admission import Reservation
from .context import RequestContext
from .families import Families
from .params import DiameterSource
from .pipeline import Pipeline
from .plan import Planner

RAISE = 1.02
"""Factor by which an estimate that does not fit the limits is raised, until the image fits."""

TRUSTED_SHARE = 0.45
"""Least explained share (`cellserve_postprocess.explained_share`) of a scale that can be the right one. Decision 25 has
the measurements."""

SEARCH_SHARE = 0.25
"""Explained share below which other scales are searched: little or nothing was found."""

TRUSTED_RATIO = 2.0
"""Most that the diameter measured at a scale and the diameter that the scale is made for may differ, as a factor."""

SEARCH_STEP = 2.0
"""Factor between the diameters of the search: networks find objects of one half to one working diameter well."""

STACK_PLANES = 3
"""Planes of a stack that an estimate looks at."""

SEARCH_TILES = 16
"""Most tiles of one copy of the image in the search. All copies of a square image together have at most 24."""


@dataclass(frozen=True, slots=True)
class Look:
    """What network 0 finds in an image at one scale.

    Attributes:
        assumed: Diameter that the scale is made for, pixels.
        measured: Median diameter of the objects found, pixels; 0 if there are none.
        objects: Number of objects found.
        explained: Explained share of the foreground, 0 to 1.
    """

    assumed: float
    measured: float
    objects: int
    explained: float

    @property
    def consistent(self) -> bool:
        """Whether the objects are about as large as assumed."""
        return 1 / TRUSTED_RATIO <= self.measured / self.assumed <= TRUSTED_RATIO

    @property
    def trusted(self) -> bool:
        """Whether the scale can be the right one."""
        return self.consistent and self.explained >= TRUSTED_SHARE


@dataclass(frozen=True, slots=True)
class Estimate:
    """A diameter that the caller left open.

    Attributes:
        diameter: Pixels.
        source: SIZE_MODEL; TRAINING_DIAMETER if the image shows nothing.
        warnings: What to know about the estimate.
    """

    diameter: float
    source: DiameterSource
    warnings: Warnings


class DiameterEstimator:
    """Estimates the diameter of the objects if the caller did not state one."""

    def __init__(self, families: Families, planner: Planner, pipeline: Pipeline) -> None:
        self._families = families
        self._planner = planner
        self._pipeline = pipeline

    async def estimate(
        self,
        planes: NDArray[np.float32],
        params: SegmentParams,
        context: RequestContext,
        reservation: Reservation,
    ) -> Estimate:
        """Estimates the diameter of the objects in an image. An image of zeros needs no network.

        Args:
            planes: [2, Y, X], normalised.
            params: Resolved, but for the diameter.
            context: Its timing includes the estimate.
            reservation: Resized to the pixels that each step of the estimate costs.

        Raises:
            ServiceError: The gateway is full, or as `Pipeline.maps`.
        """
        family, shape = self._families[params.model], _shape(planes)
        with self._pipeline.instruments.stage("estimate"), context.progress.estimating():
            if not await self._pipeline.workers.run(context, np.any, planes):
                fitting = self._with_diameter(params, family.default_diameter, shape)
                return Estimate(_diameter(fitting), DiameterSource.TRAINING_DIAMETER, ())
            predicted = await self._predict(planes, family, context, reservation)
            look, trusted = await self._find(planes, predicted, params, context, reservation)
        found = look.measured or predicted
        estimated = _diameter(self._with_diameter(params, found, shape))
        doubts = () if trusted else (_uncertain(predicted, look),)
        return Estimate(estimated, DiameterSource.SIZE_MODEL, (*doubts, *_limited(found, estimated)))

    async def estimate_stack(
        self, channels: NDArray[np.float32], params: SegmentParams, context: RequestContext, reservation: Reservation
    ) -> Estimate:
        """Estimates the diameter of the objects in a stack: the median of the estimates of a few planes.

        Args:
            channels: [2, Z, Y, X], normalised.
            params: As for `estimate`.
            context: As for `estimate`.
            reservation: As for `estimate`.

        Raises:
            ServiceError: As `estimate`.
        """
        planes = await self._pipeline.workers.run(context, _telling_planes, channels)
        estimates = [await self.estimate(channels[:, z], params, context, reservation) for z in planes]
        measured = [one for one in estimates if one.source is DiameterSource.SIZE_MODEL] or estimates
        return sorted(measured, key=lambda one: one.diameter)[len(measured) // 2]

    async def _predict(
        self, planes: NDArray[np.float32], family: Family, context: RequestContext, reservation: Reservation
    ) -> float:
        """Returns the size model's prediction from the style of an image [2, Y, X]."""
        assert family.size_model is not None
        grid = style_grid(_shape(planes))
        reservation.resize(pixels=max(planes[0].size, len(grid) * TILE * TILE))
        network = self._pipeline.backend.network(family.style_network)
        with context.stage("inference"):
            outputs = await self._pipeline.infer(planes, grid, network, ("style",), context)
        return SizeModel.of(family.size_model).diameter(outputs.style())

    async def _find(
        self,
        planes: NDArray[np.float32],
        predicted: float,
        params: SegmentParams,
        context: RequestContext,
        reservation: Reservation,
    ) -> tuple[Look, bool]:
        """Returns the look whose measurement is the estimate, and whether the scale of the estimate is trusted."""
        # Channels and normalisation as the caller wants them; one network, and masks by the defaults.
        quick = replace(params, ensemble=False, augment=False, **asdict(RecoveryParams()))
        look = await self._look(planes, predicted, quick, context, reservation)
        if look.trusted:
            return look, True
        best = look
        if look.explained < SEARCH_SHARE:
            for diameter in self._coarse_diameters(quick, _shape(planes)):
                coarse = await self._look(planes, diameter, quick, context, reservation)
                best = max(best, coarse, key=lambda entry: entry.explained)
        if best.explained < SEARCH_SHARE or (best is look and look.consistent):
            return look, False
        again = await self._look(planes, best.measured, quick, context, reservation)
        return max(again, best, key=lambda entry: entry.explained), again.trusted

    def _coarse_diameters(self, params: SegmentParams, shape: tuple[int, int]) -> Iterator[float]:
        """Yields the diameters of the search. Of the first, the largest object that masks can have is a half."""
        diameter = SEARCH_STEP * 2 * math.sqrt(params.max_size_fraction * math.prod(shape) / math.pi)
        while diameter > SMALLEST_DIAMETER:
            if self._tiles(replace(params, diameter=diameter), shape) > min(SEARCH_TILES, self._planner.most_tiles):
                return
            yield diameter
            diameter /= SEARCH_STEP

    async def _look(
        self,
        planes: NDArray[np.float32],
        diameter: float,
        params: SegmentParams,
        context: RequestContext,
        reservation: Reservation,
    ) -> Look:
        """Segments an image at the scale of a diameter, or of the next one that the limits allow."""
        pipeline = self._pipeline
        run, group = pipeline.workers.run, pipeline.workers.group(context)
        params = self._with_diameter(params, diameter, _shape(planes))
        plan = self._planner.plan(_shape(planes), params, DiameterSource.SIZE_MODEL, context)
        reservation.resize(pixels=plan.pixels)
        with context.stage("preprocess"):
            scaled = await run(context, resize, planes, plan.scaled, group)
        with context.stage("inference"):
            outputs = await pipeline.infer(scaled, plan.grid, plan.network, ("maps",), context)
        del scaled
        # Masks are recovered at the smaller of the two scales: the median is as good, and pixels of large objects
        # have a shorter way.
        shape = min(plan.shape, plan.scaled, key=math.prod)
        with context.stage("reassemble"):
            maps = await pipeline.assemble(outputs, shape, context)
        del outputs
        with context.stage("postprocess"):
            measured, objects, explained = await run(context, _measure, maps, plan.params, group)
        scale = math.sqrt(math.prod(plan.shape) / math.prod(shape))
        return Look(_diameter(params), measured * scale, objects, explained)

    def _with_diameter(self, params: SegmentParams, diameter: float, shape: tuple[int, int]) -> SegmentParams:
        """Returns parameters with an estimated diameter, raised as far as the limits on tiles and pixels ask for."""
        params = replace(params, diameter=bounded_diameter(diameter))
        while self._tiles(params, shape) > self._planner.most_tiles and diameter < LARGEST_DIAMETER:
            diameter = bounded_diameter(diameter * RAISE)
            params = replace(params, diameter=diameter)
        return params

    def _tiles(self, params: SegmentParams, shape: tuple[int, int]) -> int:
        return self._planner.sections(shape, params)[0].tiles(params)


def _telling_planes(channels: NDArray[np.float32]) -> list[int]:
    """Returns the planes of a stack [2, Z, Y, X] that an estimate looks at: of each part, that of most contrast."""
    contrast = channels.std(axis=(2, 3)).max(axis=0)
    parts = np.array_split(np.arange(contrast.size), min(STACK_PLANES, contrast.size))
    return [int(part[np.argmax(contrast[part])]) for part in parts]


def _shape(planes: NDArray[np.float32]) -> tuple[int, int]:
    height, width = planes.shape[1:]
    return height, width


def _diameter(params: SegmentParams) -> float:
    assert params.diameter is not None  # `_with_diameter` sets it
    return params.diameter


def _measure(maps: NDArray[np.float32], recovery: RecoveryParams, threads: ThreadGroup) -> tuple[float, int, float]:
    """Returns median diameter and number of the objects, and the explained share of the foreground."""
    recovered = recover_masks(maps, recovery, threads)
    explained = explained_share(recovered, maps[2], recovery)
    return median_diameter(recovered.labels), len(recovered.flow_errors), explained


def _uncertain(predicted: float, look: Look) -> Warned:
    facts = {"predicted": f"{predicted:.1f}", "measured": f"{look.measured:.1f}", "objects": str(look.objects)}
    return WarningKind.DIAMETER_UNCERTAIN, facts


def _limited(found: float, estimated: float) -> Warnings:
    """Returns a warning if an estimate is at a limit; `found` is what the image says."""
    if estimated == found and SMALLEST_DIAMETER < estimated < LARGEST_DIAMETER:
        return ()
    return ((WarningKind.DIAMETER_AT_LIMIT, {"estimated": f"{found:.1f}", "diameter": f"{estimated:.1f}"}),)
