"""The core's interface: what every front can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import numpy as np
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams
from cellserve_contract.resolution import ignored_channels, resolve_stack, untested_diameter
from cellserve_contract.warnings import WarningKind, Warnings
from cellserve_formats import PixelSize
from cellserve_preprocess import TileGrid
from numpy.typing import NDArray

from cellserve_gateway.errors import AnswerTooLarge
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .admission import Reservation
from .context import RequestContext
from .decode import Decoded
from .diameter import DiameterEstimator
from .families import Families
from .files import ImageFiles
from .limits import ServiceLimits
from .networks import Backend, Network
from .params import DiameterSource, check_stack_mode, resolve
from .pipeline import Pipeline
from .plan import Plan, Planner
from .results import Segmentation, Wanted
from .stack_plan import StackPlan, StackPlanner
from .stacks import StackSegmenter
from .threads import WorkerThreads
from .tile_sums import TileSummer, TileSums

P = ParamSpec("P")
R = TypeVar("R")
ANSWER_COPIES = 2
"""Copies of an answer in memory at a time: while it is encoded, and while it is sent."""


@dataclass(frozen=True, slots=True)
class DiameterEstimate:
    """The size of the objects in an image.

    Attributes:
        diameter: Median diameter, pixels.
        source: Where the diameter came from.
        network: The network as used: network 0 alone where the diameter was estimated.
        warnings: What to know about the estimate.
    """

    diameter: float
    source: DiameterSource
    family: Family
    network: Network
    warnings: Warnings


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image or a stack ready for the networks, at its own size.

    Attributes:
        channels: float32, [2, Y, X] or [2, Z, Y, X], normalised.
        params: Parameters, all resolved but `min_size`, which the plan resolves.
        source: Where the diameter came from.
        warnings: What to know about the image and the diameter.
    """

    channels: NDArray[np.float32]
    params: SegmentParams
    source: DiameterSource
    warnings: Warnings

    @property
    def is_stack(self) -> bool:
        """Whether there are several planes."""
        return self.channels.ndim == 4


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """A model family and its state at the backend.

    Attributes:
        networks: Names of the networks, the ensemble first.
        served: The networks as the backend serves them, in the same order. Empty: not all are ready.
    """

    family: Family
    networks: tuple[str, ...]
    served: tuple[Network, ...]


class Segmenter:
    """Segments images, estimates diameters, and lists the model families.

    Attributes:
        families: The model families.
        files: Decodes image files.
        limits: The limits that callers can ask for.
    """

    def __init__(
        self,
        settings: Settings,
        families: Families,
        backend: Backend,
        workers: WorkerThreads,
        instruments: Instruments,
        files: ImageFiles,
    ) -> None:
        self.families = families
        self.files = files
        self.limits = ServiceLimits.of(settings)
        self._backend = backend
        self._workers = workers
        self._planner = Planner(self.limits, families, backend)
        self._stack_planner = StackPlanner(self._planner, self.limits)
        self._pipeline = Pipeline(settings, backend, workers, instruments)
        self._stacks = StackSegmenter(self._pipeline)
        self._summer = TileSummer(self._planner, self._pipeline, self.limits)
        self._diameters = DiameterEstimator(families, self._planner, self._pipeline)

    async def segment(
        self,
        decode: Callable[[], Decoded],
        params: SegmentParams,
        wanted: Wanted,
        context: RequestContext,
        reservation: Reservation,
        *,
        most_bytes: int | None = None,
    ) -> Segmentation:
        """Segments one image or stack.

        Args:
            decode: Returns the image. Runs on a thread for decoding.
            params: As the caller sent them.
            wanted: Parts wanted in the result.
            context: Its timing is filled in.
            reservation: Holds the request and its bytes. Resized to the pixels and bytes of the image and its answer.
            most_bytes: Most bytes of the arrays of the answer. None: no limit, as for arrays that will be compressed.

        Raises:
            ServiceError: See its subclasses.
            ParameterError: A parameter does not fit the image.
        """
        prepared = await self.prepare(decode, params, context, reservation)
        warnings = prepared.warnings
        if prepared.is_stack:
            result = await self._segment_stack(prepared, wanted, context, reservation, most_bytes)
        else:
            image = [prepared]
            del prepared  # no step holds arrays that only an earlier one needed
            result = await self._segment_image(image.pop(), wanted, context, reservation, most_bytes)
        _log(result.network, context, objects=len(result.objects))
        network = context.networks.get(result.network.name, result.network)
        return replace(result, network=network, warnings=(*warnings, *result.warnings))

    async def _segment_image(
        self,
        prepared: Prepared,
        wanted: Wanted,
        context: RequestContext,
        reservation: Reservation,
        most_bytes: int | None,
    ) -> Segmentation:
        plan = self._planner.plan(prepared.channels.shape[1:], prepared.params, prepared.source, context)
        answer = _answer_bytes(plan, wanted, most_bytes)
        reservation.resize(pixels=plan.pixels, bytes=reservation.held.get("bytes", 0) + ANSWER_COPIES * answer)
        context.progress.plan(1, len(plan.grid))
        scaled = await self._pipeline.scale(prepared.channels, plan.scaled, context)
        del prepared
        outputs = await self._pipeline.maps(scaled, plan, wanted, context)
        del scaled
        return await self._pipeline.recover(outputs, plan, wanted, context)

    async def _segment_stack(
        self,
        prepared: Prepared,
        wanted: Wanted,
        context: RequestContext,
        reservation: Reservation,
        most_bytes: int | None,
    ) -> Segmentation:
        plan = self._stack_planner.plan(prepared.channels.shape[1:], prepared.params, prepared.source, context)
        answer = _answer_bytes(plan, wanted, most_bytes)
        reservation.resize(bytes=reservation.held.get("bytes", 0) + plan.bytes + ANSWER_COPIES * answer)
        return await self._stacks.segment(prepared.channels, plan, wanted, context)

    async def estimate_diameter(
        self, decode: Callable[[], Decoded], params: SegmentParams, context: RequestContext, reservation: Reservation
    ) -> DiameterEstimate:
        """Estimates the median diameter of the objects in an image; arguments and errors as in `segment`."""
        family = self.families[params.model]
        prepared = await self.prepare(decode, params, context, reservation)
        assert prepared.params.diameter is not None  # resolved
        single = prepared.source is DiameterSource.SIZE_MODEL
        name = family.network(params.ensemble and not single)
        network = context.networks.get(name) or self._backend.network(name)
        _log(network, context)
        warnings = prepared.warnings
        if family.size_model and prepared.source is DiameterSource.TRAINING_DIAMETER:
            warnings = (*warnings, (WarningKind.NOTHING_FOUND, {}))
        return DiameterEstimate(prepared.params.diameter, prepared.source, family, network, warnings)

    async def run_networks(
        self,
        decode: Callable[[], Decoded],
        shape: tuple[int, int, int, int],
        grid: TileGrid,
        params: SegmentParams,
        context: RequestContext,
        reservation: Reservation,
        *,
        most_bytes: int,
    ) -> TileSums:
        """Runs the networks on planes that are ready for them.

        Args:
            decode: Returns the planes, float32. Runs on a thread for decoding.
            shape: (N, C, y, x) of the planes.
            grid: Tiles of each plane; the planes are the extent of the grid.
            params: Name the model; the other parameters do not matter.
            context: Its timing is filled in.
            reservation: Holds the request and its bytes. Gets the memory of the work.
            most_bytes: Most bytes of the sums.

        Raises:
            ServiceError: See its subclasses.
        """
        self._check_served(params)
        context.start_work()
        self._stack_planner.check_planes(shape[0])
        plan = self._summer.plan(shape, grid, params, context, most_bytes)
        held = reservation.held.get("bytes", 0)
        reservation.resize(pixels=plan.pixels, bytes=held + plan.bytes + ANSWER_COPIES * plan.answer_bytes)
        context.facts["shape"] = list(shape)
        with self._pipeline.stage(context, "decode"):
            planes = (await self._workers.decode(context, decode)).pixels
        sums = await self._summer.sum(planes, plan, context)
        _log(plan.network, context)
        return TileSums(sums, self.families[params.model], context.networks[plan.network.name])

    async def unpack(self, context: RequestContext, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the decoder of a request on a thread for decoding, as a stage of the request."""
        with self._pipeline.stage(context, "decode"):
            return await self._workers.decode(context, lambda: function(*args, **kwargs))

    async def encode(self, context: RequestContext, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the encoder of an answer on a worker thread, as a stage of the request."""
        with self._pipeline.stage(context, "encode"):
            return await self._workers.run(context, function, *args, **kwargs)

    def status(self, name: str) -> FamilyStatus:
        """Returns a model family and its state at the backend.

        Raises:
            ModelUnknown: The family does not exist.
        """
        family = self.families[name]
        first = [family.network(ensemble=True), family.network(ensemble=False)]
        names = (*first, *sorted(set(family.networks) - set(first)))
        ready = all(self._backend.ready(name) for name in names)
        return FamilyStatus(family, names, tuple(self._backend.network(name) for name in names) if ready else ())

    def check(
        self,
        params: SegmentParams,
        size: tuple[int, int, int, int] | None,
        pixel_size: PixelSize | None,
        context: RequestContext,
    ) -> None:
        """Refuses a request that cannot be done, before its image is there.

        Args:
            params: As the caller sent them.
            size: Planes, channels, rows and columns of the image. None: unknown.
            pixel_size: As the caller states it. None: unknown.
            context: Its deadline bounds the tiles.

        Raises:
            ServiceError, ParameterError: As `segment`.
        """
        self._check_served(params)
        if size is not None:
            self._resolve(params, size, pixel_size, context)

    async def prepare(
        self, decode: Callable[[], Decoded], params: SegmentParams, context: RequestContext, reservation: Reservation
    ) -> Prepared:
        """Decodes and normalises an image or a stack, and resolves its parameters."""
        self._check_served(params)
        context.start_work()
        with self._pipeline.stage(context, "decode"):
            image = await self._workers.decode(context, decode)
        pixels = image.pixels
        size = max(pixels.nbytes, reservation.held.get("bytes", 0))
        reservation.resize(pixels=pixels[0, 0].size, bytes=size)
        context.facts["shape"] = list(pixels.shape[0 if image.is_stack else 1 :])
        given = params
        params, source, stacked = self._resolve(given, pixels.shape, image.pixel_size, context)
        channels = np.moveaxis(pixels, 1, 0) if image.is_stack else image.planes
        normalized = await self._pipeline.normalize(channels, params, context)
        warnings = (*image.warnings, *stacked, *ignored_channels(given, params, len(channels)), *normalized.warnings)
        if source is DiameterSource.TRAINING_DIAMETER:  # no size model
            warnings = (*warnings, (WarningKind.DIAMETER_NOT_MEASURED, {"diameter": f"{params.diameter:g}"}))
        elif source is DiameterSource.SIZE_MODEL:
            estimator = self._diameters.estimate_stack if image.is_stack else self._diameters.estimate
            estimate = await estimator(normalized.planes, params, context, reservation)
            params, source = replace(params, diameter=estimate.diameter), estimate.source
            warnings = (*warnings, *estimate.warnings)
        return Prepared(normalized.planes, params, source, (*warnings, *untested_diameter(params)))

    def _check_served(self, params: SegmentParams) -> None:
        """Raises a ServiceError, before any work, if the model does not exist or no server serves it now."""
        self._backend.check(self.families[params.model].network(params.ensemble))

    def _resolve(
        self,
        params: SegmentParams,
        size: tuple[int, ...],
        pixel_size: PixelSize | None,
        context: RequestContext,
    ) -> tuple[SegmentParams, DiameterSource, Warnings]:
        """Resolves parameters for an image [Z, C, Y, X]; refuses what cannot be done."""
        planes, channels, *shape = size
        self._stack_planner.check_planes(planes)
        params, source = resolve(params, channels, self.families[params.model])
        check_stack_mode(params, planes)
        params, warnings = resolve_stack(params, planes, pixel_size and pixel_size.anisotropy)
        if params.diameter is not None and planes > 1:
            self._stack_planner.plan((planes, shape[0], shape[1]), params, source, context)
        elif params.diameter is not None:
            self._planner.plan((shape[0], shape[1]), params, source, context)
        return params, source, warnings


def _answer_bytes(plan: Plan | StackPlan, wanted: Wanted, limit: int | None) -> int:
    """Returns the bytes that the arrays of an answer take in memory.

    Raises:
        AnswerTooLarge: The answer would exceed the limit.
    """
    size = plan.answer_bytes(wanted)
    if limit is not None and size > limit:
        raise AnswerTooLarge(
            f"the answer would have {size:,} bytes; the limit is {limit:,}: "
            "ask for fewer outputs, for compression, or segment parts of the image",
            value=size,
            limit=limit,
        )
    return size


def _log(network: Network, context: RequestContext, **facts: int) -> None:
    """Adds the facts of an image to the log line of its request."""
    context.facts.update(model=network.name, tiles=context.timing.tiles, **facts)
