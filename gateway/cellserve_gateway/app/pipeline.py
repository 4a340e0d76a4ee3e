"""The pipeline of one image: normalise, rescale, tile, infer, reassemble, recover the masks."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warned, WarningKind, Warnings
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    FLOW_SCALE,
    STYLE_SIZE,
    ObjectTable,
    image_style,
    measure_objects,
    reassemble,
    recover_masks,
    trace_outlines,
)
from cellserve_preprocess import TILE, Normalized, TileGrid, normalize, rescaled_shape, resize, select_channels
from numpy.typing import NDArray

from cellserve_gateway.errors import DeadlinePassed, DeadlineTooNear, ImageTooLarge, InternalError
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .context import RequestContext
from .decode import Pixels
from .families import Families
from .networks import Backend, Network, TileOutput, TileOutputs, used
from .params import DiameterSource, has_small_objects, with_min_size
from .tasks import run_together
from .threads import WorkerThreads

Output = Literal["outlines", "flows", "cell_probability", "style", "maps"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Parts that the caller wants in the result.

    Attributes:
        outputs: Optional parts.
        maps_only: The networks' maps are the result. No masks are recovered.
        labels: The answer holds the label image.
        map_type: Type of flows, cell probability and maps in the answer: float32 or float16.
    """

    outputs: frozenset[Output] = frozenset()
    maps_only: bool = False
    labels: bool = True
    map_type: type[np.floating[Any]] = np.float32

    @property
    def objects_only(self) -> bool:
        """Whether the result holds nothing that the networks alone can tell."""
        return not self.maps_only and self.outputs <= {"outlines"}


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The result for one image.

    Attributes:
        labels: uint16 or uint32 [Y, X]; 0 is background, 1..N are objects. None: only maps were wanted.
        objects: The objects, in the order of their labels.
        params: Parameters as used, all resolved.
        network: The network as used.
        outlines: int32 [k, 2] of (y, x) per object. None: not wanted.
        flows: float32 [2, Y, X], about unit length inside objects. None: not wanted.
        cell_probability: float32 [Y, X], logits. None: not wanted.
        maps: float32 [3, Y, X]: 5 * flow along y, 5 * flow along x, logit. None: not wanted.
        style: float32 [256], unit length. None: not wanted.
        warnings: What to know about the result.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32] | None
    objects: ObjectTable
    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    outlines: list[NDArray[np.int32]] | None = None
    flows: NDArray[np.float32] | None = None
    cell_probability: NDArray[np.float32] | None = None
    maps: NDArray[np.float32] | None = None
    style: NDArray[np.float32] | None = None
    warnings: Warnings = ()


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """What the networks say of an image.

    Attributes:
        maps: float32 [3, Y, X] at the scale of `Plan.recovered`: 5 * flow along y, 5 * flow along x, logit.
        style: float32 [256], unit length. None: not wanted.
    """

    maps: NDArray[np.float32]
    style: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The execution plan for one image: resolved parameters, network, scaled size and tiles.

    Attributes:
        shape: (Y, X) of the image.
        scaled: (Y, X) of the image at the networks' scale.
        recovered: (Y, X) of the maps that masks are recovered from. The image's shape (paper); for small objects, that
            of the networks' scale. Results always have the image's shape.
        grid: Tiles of the scaled image.
    """

    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    shape: tuple[int, int]
    scaled: tuple[int, int]
    recovered: tuple[int, int]
    grid: TileGrid

    @property
    def pixels(self) -> int:
        """Cost of the image: the pixels that the networks run on, or its own pixels if these are more."""
        return max(math.prod(self.shape), len(self.grid) * TILE * TILE)

    def answer_bytes(self, wanted: Wanted) -> int:
        """Returns the bytes of the arrays of an answer: labels as uint16, maps in the type wanted."""
        planes = 2 * ("flows" in wanted.outputs) + ("cell_probability" in wanted.outputs)
        planes += 3 * (wanted.maps_only or "maps" in wanted.outputs)
        labels = 0 if wanted.maps_only or not wanted.labels else 2
        return (labels + np.dtype(wanted.map_type).itemsize * planes) * math.prod(self.shape)


def most_tiles(settings: Settings) -> int:
    """Returns the most tiles of an image: never more than an idle gateway would admit."""
    return min(settings.max_tiles, max(1, settings.max_pixels_in_flight // (TILE * TILE)))


class Pipeline:
    """Segments images: numerics on worker threads, tiles at the backend, the event loop never blocked."""

    def __init__(
        self,
        settings: Settings,
        families: Families,
        backend: Backend,
        workers: WorkerThreads,
        instruments: Instruments,
    ) -> None:
        self.families = families
        self.backend = backend
        self.workers = workers
        self.instruments = instruments
        self._settings = settings

    @contextlib.contextmanager
    def stage(self, context: RequestContext, name: str) -> Iterator[None]:
        """Measures a stage for the answer, the metrics and the trace."""
        with context.stage(name), self.instruments.stage(name):
            yield

    def plan(
        self, shape: tuple[int, int], params: SegmentParams, source: DiameterSource, context: RequestContext
    ) -> Plan:
        """Returns the execution plan for one image.

        Args:
            shape: (Y, X) of the image.
            params: Resolved, with a diameter.
            source: Where the diameter came from.
            context: Its deadline bounds the tiles.

        Raises:
            ModelUnknown, BackendUnavailable: The model does not exist, or no server has served it yet.
            ImageTooLarge: The image takes too many tiles.
            DeadlineTooNear: The backend cannot compute the tiles before the deadline, even at its best speed.
        """
        family = self.families[params.model]
        scaled = self.scaled(shape, params)
        tiles = TileGrid.count(scaled, params.tile_overlap, params.augment)
        if tiles > (limit := most_tiles(self._settings)):
            raise ImageTooLarge(
                f"scaled to objects of {family.diam_mean:g} px the image takes {tiles:,} tiles; "
                f"the limit is {limit:,}: check the diameter",
                resource="tiles",
                value=tiles,
                limit=limit,
            )
        grid = TileGrid.cover(scaled, params.tile_overlap, params.augment)
        network = self.backend.network(family.network(params.ensemble))
        self._check_time(network, tiles, context)
        recovered = max(shape, scaled, key=math.prod) if has_small_objects(params) else shape
        return Plan(with_min_size(params), source, network, shape, scaled, recovered, grid)

    def scaled(self, shape: tuple[int, int], params: SegmentParams) -> tuple[int, int]:
        """Returns (Y, X) of an image at the networks' scale; `params` state a diameter."""
        assert params.diameter is not None  # resolved or estimated
        return rescaled_shape(shape, self.families[params.model].diam_mean / params.diameter)

    async def normalize(self, image: Pixels, params: SegmentParams, context: RequestContext) -> Normalized:
        """Returns the input planes of the networks; `params` name the channels of the image [C, Y, X]."""
        with self.stage(context, "preprocess"):
            return await self.workers.run(context, _normalize, image, params, self.workers.group(context))

    async def scale(
        self, planes: NDArray[np.float32], shape: tuple[int, int], context: RequestContext
    ) -> NDArray[np.float32]:
        """Returns planes [2, Y, X] resized (paper: normalised, then resized)."""
        with self.stage(context, "preprocess"):
            return await self.workers.run(context, resize, planes, shape, self.workers.group(context))

    async def maps(
        self, scaled: NDArray[np.float32], plan: Plan, wanted: Wanted, context: RequestContext
    ) -> NetworkOutputs | None:
        """Runs the networks on an image at their scale, [2, Y', X']; returns None if an image of zeros needs none.

        Raises:
            ServiceError: See its subclasses.
        """
        if wanted.objects_only and not await self.workers.run(context, np.any, scaled):
            return None
        with self.stage(context, "inference"):
            outputs: tuple[TileOutput, ...] = ("maps", "style") if "style" in wanted.outputs else ("maps",)
            tiles = await self.infer(scaled, plan.grid, plan.network, outputs, context)
        with self.stage(context, "reassemble"):
            group = self.workers.group(context)
            maps = await self.workers.run(context, assemble, tiles, plan.grid, plan.recovered, group)
            return NetworkOutputs(maps, None if tiles.style is None else style_of(tiles))

    async def recover(
        self, outputs: NetworkOutputs | None, plan: Plan, wanted: Wanted, context: RequestContext
    ) -> Segmentation:
        """Recovers the masks of an image from the outputs of its networks; None: of an image of zeros."""
        with self.stage(context, "postprocess"):
            group = self.workers.group(context)
            if outputs is None:
                result = await self.workers.run(context, _nothing, plan, wanted)
            else:
                result = await self.workers.run(context, _recover, outputs, plan, wanted, group)
        metrics, pixels = self.instruments.metrics, math.prod(plan.shape)
        metrics.pixels.inc(pixels)
        metrics.image_pixels.observe(pixels)
        metrics.objects.inc(len(result.objects))
        return result

    def _check_time(self, network: Network, tiles: int, context: RequestContext) -> None:
        left = max(0.0, context.deadline - asyncio.get_running_loop().time())
        needed = self.backend.least_seconds(network.name, tiles, context.priority)
        if needed is not None and needed > left:
            raise DeadlineTooNear(
                f"the image takes {tiles:,} tiles, which need {needed:.1f} s at least; {left:.1f} s are left: "
                "give more time, or check the diameter (a small diameter enlarges the image)",
                reason=context.late_reason,
                stage="plan",
                tiles=tiles,
                estimated_s=round(needed, 2),
                left_s=round(left, 2),
            )

    async def infer(
        self,
        scaled: NDArray[np.float32],
        grid: TileGrid,
        network: Network,
        outputs: tuple[TileOutput, ...],
        context: RequestContext,
    ) -> TileOutputs:
        """Sends each tile of an image [2, Y', X'] as a request, several at a time; returns the outputs of all tiles.

        The context learns which network computed them.

        Raises:
            DeadlinePassed: The deadline passed first, whatever the backend does.
        """
        window = asyncio.Semaphore(max(self._settings.tiles_in_flight_per_image, self.backend.tiles_ahead(network)))
        maps: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(grid)
        styles = np.empty((len(grid), STYLE_SIZE), np.float32) if "style" in outputs else None
        networks: set[Network] = set()

        async def infer(index: int) -> None:
            async with window:
                tile = await self.workers.run(context, grid.cut, scaled, index, index + 1)
                answer = await self.backend.infer(network.name, tile, outputs, context)
            if answer.maps is not None:
                maps[index] = answer.maps[0]  # a view of the answer's bytes: no copy on the event loop
            if styles is not None:
                styles[index] = answer.style
            networks.add(answer.network)

        try:
            async with asyncio.timeout_at(context.deadline):
                await run_together(infer(index) for index in range(len(grid)))
        except TimeoutError:
            raise DeadlinePassed("the inference server did not answer before the deadline", stage="inference") from None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__  # what the log tells
        context.timing.tiles += len(grid)
        context.networks[network.name] = used(networks)
        return TileOutputs(maps if "maps" in outputs else None, styles, context.networks[network.name])


def assemble(tiles: TileOutputs, grid: TileGrid, shape: tuple[int, int], threads: ThreadGroup) -> NDArray[np.float32]:
    """Returns the networks' maps at a size, [3, Y, X]."""
    assert tiles.maps is not None  # asked for
    return _finite(resize(reassemble(tiles.maps, grid, threads), shape, threads))


def style_of(tiles: TileOutputs) -> NDArray[np.float32]:
    """Returns the style of an image, [256], of unit length."""
    assert tiles.style is not None  # asked for
    return _finite(image_style(tiles.style))


def _normalize(image: Pixels, params: SegmentParams, threads: ThreadGroup) -> Normalized:
    assert params.cytoplasm_channel is not None  # resolved
    assert params.nucleus_channel is not None
    planes = select_channels(image, params.cytoplasm_channel, params.nucleus_channel)
    return normalize(planes, params.normalization, threads)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise InternalError("the inference server's answer is not finite", reason="TRITON_BAD_ANSWER")
    return values


def _recover(network: NetworkOutputs, plan: Plan, wanted: Wanted, threads: ThreadGroup) -> Segmentation:
    outputs, maps = wanted.outputs, resize(network.maps, plan.shape, threads)
    labels, objects = None, ObjectTable.empty()
    if not wanted.maps_only:
        recovered = recover_masks(network.maps, plan.params, threads, plan.shape)
        labels = recovered.labels
        objects = measure_objects(labels, maps[2], recovered.flow_errors, threads)
    return Segmentation(
        labels=labels,
        objects=objects,
        params=plan.params,
        diameter_source=plan.diameter_source,
        network=plan.network,
        outlines=trace_outlines(labels, threads) if labels is not None and "outlines" in outputs else None,
        flows=maps[:2] / np.float32(FLOW_SCALE) if "flows" in outputs else None,
        cell_probability=maps[2] if "cell_probability" in outputs else None,
        maps=maps if wanted.maps_only or "maps" in outputs else None,
        style=network.style,
        warnings=tuple(_warnings(None if labels is None else len(objects), maps)),
    )


def _nothing(plan: Plan, wanted: Wanted) -> Segmentation:
    """Returns the result for an image that shows nothing."""
    return Segmentation(
        labels=np.zeros(plan.shape, np.uint16),
        objects=ObjectTable.empty(),
        params=plan.params,
        diameter_source=plan.diameter_source,
        network=plan.network,
        outlines=[] if "outlines" in wanted.outputs else None,
        warnings=((WarningKind.NOTHING_FOUND, {}),),
    )


def _warnings(objects: int | None, maps: NDArray[np.float32]) -> Iterator[Warned]:
    """Yields the warnings of a result; `objects` is None if no masks were recovered."""
    if objects == 0:
        yield WarningKind.NOTHING_FOUND, {"largest_logit": f"{float(maps[2].max()):.3g}"}
