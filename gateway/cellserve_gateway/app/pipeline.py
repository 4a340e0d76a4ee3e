"""The pipeline of one image: normalise, rescale, tile, infer, reassemble, recover the masks."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warned, WarningKind
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import (
    FLOW_SCALE,
    STYLE_SIZE,
    MapSums,
    ObjectTable,
    image_style,
    measure_objects,
    recover_masks,
    trace_outlines,
)
from cellserve_preprocess import TILE, Normalized, TileGrid, normalize, resize, select_channels
from numpy.typing import NDArray

from cellserve_gateway.errors import DeadlinePassed, InternalError
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .context import RequestContext
from .decode import Pixels
from .networks import Backend, Network, TileOutput, TileOutputs, used
from .plan import Plan
from .results import NetworkOutputs, Segmentation, Wanted
from .tasks import run_together
from .threads import WorkerThreads


@dataclass(frozen=True, slots=True)
class PlaneOutputs:
    """The outputs of a network for a plane, collected tile by tile.

    Attributes:
        sums: The tiles' maps, blended. None: not wanted.
        styles: float32 [tiles, 256]. None: not wanted.
    """

    sums: MapSums | None
    styles: NDArray[np.float32] | None

    @classmethod
    def empty(cls, grid: TileGrid, outputs: tuple[TileOutput, ...]) -> Self:
        """Returns the outputs before the first tile."""
        styles = np.empty((len(grid), STYLE_SIZE), np.float32) if "style" in outputs else None
        return cls(MapSums(grid) if "maps" in outputs else None, styles)

    def add(self, index: int, answer: TileOutputs) -> None:
        """Adds the answer for one tile.

        Raises:
            InternalError: A value is not finite.
        """
        if self.sums is not None:
            assert answer.maps is not None  # asked for
            try:
                maps = answer.maps[0]
                if maps.shape[1:] != (TILE, TILE):  # a small image fills a part of its tile, the first
                    maps = np.pad(maps, ((0, 0), (0, TILE - maps.shape[1]), (0, TILE - maps.shape[2])))
                self.sums.add(index, maps)
            except FloatingPointError:
                raise _not_finite() from None
        if self.styles is not None:
            self.styles[index] = answer.style

    def maps(self, threads: ThreadGroup) -> NDArray[np.float32]:
        """Returns the maps of the plane, [3, Y', X']. It takes no more tiles."""
        assert self.sums is not None  # asked for
        return self.sums.maps(threads)

    def style(self) -> NDArray[np.float32]:
        """Returns the style of the plane, [256], of unit length.

        Raises:
            InternalError: A value is not finite.
        """
        assert self.styles is not None  # asked for
        style = image_style(self.styles)
        if not np.isfinite(style).all():
            raise _not_finite()
        return style


class TileWindow(asyncio.Semaphore):
    """Bounds the tiles of one request in flight: each is cut, at the backend, or being added to the sums.

    Attributes:
        size: Most tiles in flight.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Pipeline:
    """Segments images: numerics on worker threads, tiles at the backend, the event loop never blocked."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        workers: WorkerThreads,
        instruments: Instruments,
    ) -> None:
        self.backend = backend
        self.workers = workers
        self.instruments = instruments
        self._settings = settings

    @contextlib.contextmanager
    def stage(self, context: RequestContext, name: str) -> Iterator[None]:
        """Measures a stage for the answer, the metrics and the trace."""
        with context.stage(name), self.instruments.stage(name):
            yield

    async def normalize(self, image: Pixels, params: SegmentParams, context: RequestContext) -> Normalized:
        """Returns the input planes of the networks; `params` name the channels of the image [C, Y, X]."""
        with self.stage(context, "preprocess"):
            return await self.workers.run(context, _normalize, image, params, self.workers.group(context))

    async def scale(
        self, planes: NDArray[np.float32], shape: tuple[int, int], context: RequestContext
    ) -> NDArray[np.float32]:
        """Returns planes [2, Y, X] resized (paper: normalised, then resized)."""
        with context.stage("preprocess"), self.instruments.stage("rescale"):
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
            plane = await self.infer(scaled, plan.grid, plan.network, outputs, context)
        with self.stage(context, "reassemble"):
            maps = await self.assemble(plane, plan.recovered, context)
            context.progress.sections_done += 1
            return NetworkOutputs(maps, None if plane.styles is None else plane.style())

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

    def window(self, network: Network) -> TileWindow:
        """Returns the window of a request."""
        return TileWindow(max(self._settings.tiles_in_flight_per_image, self.backend.tiles_ahead(network)))

    async def infer(
        self,
        plane: NDArray[np.float32],
        grid: TileGrid,
        network: Network,
        outputs: tuple[TileOutput, ...],
        context: RequestContext,
        window: TileWindow | None = None,
        collected: PlaneOutputs | None = None,
    ) -> PlaneOutputs:
        """Sends each tile of a plane as a request, several at a time, and collects the answers as they come.

        A tile is cut when it is its turn, and its answer is added to the sums at once. The context learns which network
        computed the tiles, and how many are done.

        Args:
            plane: [2, Y', X'], the extent of the grid.
            grid: The tiles.
            network: Runs on the tiles.
            outputs: Outputs wanted.
            context: Its deadline bounds the work, whatever the backend does.
            window: Shared by the planes of one request; a plane begins as others end. None: of this plane alone.
            collected: Gets the outputs. None: new ones.

        Raises:
            DeadlinePassed: The deadline passed first.
            ServiceError: As `Backend.infer`.
        """
        window = window or self.window(network)
        networks: set[Network] = set()
        height, width = grid.sides if network.any_size else (TILE, TILE)

        async def take_tiles(todo: Iterator[int], collected: PlaneOutputs) -> None:
            async with window:
                for index in todo:
                    tile = await self.workers.run(context, _cut, grid, plane, index, (height, width))
                    answer = await self.backend.infer(network.name, tile, outputs, context)
                    networks.add(answer.network)
                    await self.workers.run(context, collected.add, index, answer)
                    context.progress.tiles_done += 1
                    del tile, answer  # neither is kept while the next tile waits for a thread

        try:
            async with asyncio.timeout_at(context.deadline):
                if collected is None:
                    collected = await self.workers.run(context, PlaneOutputs.empty, grid, outputs)
                todo = iter(range(len(grid)))
                await run_together(take_tiles(todo, collected) for _ in range(min(window.size, len(grid))))
        except TimeoutError:
            raise DeadlinePassed("the inference server did not answer before the deadline", stage="inference") from None
        context.timing.tiles += len(grid)
        known = context.networks.get(network.name)
        context.networks[network.name] = used(networks if known is None else {*networks, known})
        return collected

    async def assemble(
        self, plane: PlaneOutputs, shape: tuple[int, int], context: RequestContext
    ) -> NDArray[np.float32]:
        """Returns the networks' maps of a plane at a size, [3, Y, X]; the plane takes no more tiles."""
        return await self.workers.run(context, _assemble, plane, shape, self.workers.group(context))


def _normalize(image: Pixels, params: SegmentParams, threads: ThreadGroup) -> Normalized:
    assert params.cytoplasm_channel is not None  # resolved
    assert params.nucleus_channel is not None
    planes = select_channels(image, params.cytoplasm_channel, params.nucleus_channel)
    return normalize(planes, params.normalization, threads)


def _cut(grid: TileGrid, plane: NDArray[np.float32], index: int, sides: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the first rows and columns of a tile, [1, 2, rows, columns]."""
    return np.ascontiguousarray(grid.cut(plane, index, index + 1)[..., : sides[0], : sides[1]])


def _assemble(plane: PlaneOutputs, shape: tuple[int, int], threads: ThreadGroup) -> NDArray[np.float32]:
    return resize(plane.maps(threads), shape, threads)


def _not_finite() -> InternalError:
    return InternalError("the inference server's answer is not finite", reason="TRITON_BAD_ANSWER")


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
        outlines=[{0: line} for line in trace_outlines(labels, threads)]
        if labels is not None and "outlines" in outputs
        else None,
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
