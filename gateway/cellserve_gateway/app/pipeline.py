"""The pipeline of one image: normalise, rescale, tile, infer, reassemble, recover the masks."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warned, WarningKind
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
from cellserve_preprocess import Normalized, TileGrid, normalize, resize, select_channels
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
