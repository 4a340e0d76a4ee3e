"""The way of one image: normalise, rescale, tile, infer, reassemble, recover. Knows no protobuf and no gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

import numpy as np
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
from cellserve_preprocess import (
    TILE,
    Crew,
    TileGrid,
    normalize,
    rescaled_shape,
    resize,
    select_channels,
)
from numpy.typing import NDArray

from .decode import Pixels
from .errors import ImageTooLarge, InternalError, ModelUnknown
from .families import Family
from .feed import BATCHES_AHEAD
from .fleet import Fleet
from .job import Job, Output
from .lanes import Lane
from .metrics import Metrics
from .params import DiameterSource, SegmentParams
from .settings import Settings
from .tracing import Tracing
from .triton import Maps, Network, Priority

P = ParamSpec("P")
R = TypeVar("R")
TileOutput = Literal["flows", "style"]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The answer for one image.

    Attributes:
        labels: uint16 or uint32 [Y, X], 0 background, 1..N objects.
        objects: The objects, in the order of their labels.
        params: Parameters as used, nothing left open.
        outlines: Per object int32 [k, 2] of (y, x); None if not wanted.
        flows: float32 [2, Y, X], about unit length inside objects; None if not wanted.
        cell_probability: float32 [Y, X] logits; None if not wanted.
        style: float32 [256], unit length; None if not wanted.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32]
    objects: ObjectTable
    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    outlines: list[NDArray[np.int32]] | None = None
    flows: NDArray[np.float32] | None = None
    cell_probability: NDArray[np.float32] | None = None
    style: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an image and its parameters come to, before any work: nothing is left open.

    Attributes:
        shape: (Y, X) of the image.
        scaled: (Y, X) of the image at the networks' scale.
        grid: Its tiles.
    """

    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    shape: tuple[int, int]
    scaled: tuple[int, int]
    grid: TileGrid

    @property
    def pixels(self) -> int:
        """What the image costs: the pixels the networks run on, or its own where those are more."""
        return max(math.prod(self.shape), len(self.grid) * TILE * TILE)


class Pipeline:
    """Segments images: numerics on a pool of threads, tiles at Triton, the event loop never blocked."""

    def __init__(
        self,
        settings: Settings,
        families: Mapping[str, Family],
        triton: Fleet,
        lanes: Mapping[Priority, Lane],
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self.families = families
        self.triton = triton
        self._settings = settings
        self._lanes = lanes
        self._metrics = metrics
        self._tracing = tracing

    def family(self, name: str) -> Family:
        """Returns a family.

        Raises:
            ModelUnknown: There is none of that name.
        """
        try:
            return self.families[name]
        except KeyError:
            raise ModelUnknown(
                f"there is no model '{name[:64]}'; there is {', '.join(self.families)}",
                available=",".join(self.families),
            ) from None

    async def run(self, job: Job, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a synchronous function on a thread of the job's lane; a job that is cancelled meanwhile is stopped."""
        pool = self._lanes[job.priority].images
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*args, **kwargs))
        except asyncio.CancelledError:
            job.stop.set()
            raise

    def crew(self, job: Job) -> Crew:
        """Returns the threads that share the work on one image."""
        return self._lanes[job.priority].crew(job.stop)

    @contextlib.contextmanager
    def stage(self, job: Job, name: str) -> Iterator[None]:
        """Measures a stage of a job, for its answer and for whoever watches."""
        with job.stage(name), self.watched(name):
            yield

    @contextlib.contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Measures a stage for the metrics and the traces."""
        with self._metrics.stage(name), self._tracing.stage(name):
            yield

    def plan(self, shape: tuple[int, int], params: SegmentParams, source: DiameterSource) -> Plan:
        """Returns what segmenting an image comes to.

        Args:
            shape: (Y, X) of the image.
            params: Resolved, with a diameter.
            source: Where the diameter came from.

        Raises:
            ServiceError: The model is unknown or not there, or the image takes too many tiles.
        """
        family = self.family(params.model)
        scaled = self.scaled(shape, params)
        tiles = TileGrid.count(scaled, params.tile_overlap, params.augment)
        if tiles > self._settings.max_tiles:
            raise ImageTooLarge(
                f"scaled to objects of {family.diam_mean:g} px the image takes {tiles:,} tiles; "
                f"the limit is {self._settings.max_tiles:,}: check the diameter",
                resource="tiles",
                value=tiles,
                limit=self._settings.max_tiles,
            )
        grid = TileGrid.cover(scaled, params.tile_overlap, params.augment)
        return Plan(params, source, self.triton.network(family.network(params.ensemble)), shape, scaled, grid)

    def scaled(self, shape: tuple[int, int], params: SegmentParams) -> tuple[int, int]:
        """Returns (Y, X) of an image at the networks' scale; `params` state a diameter."""
        assert params.diameter is not None  # resolved or estimated
        return rescaled_shape(shape, self.family(params.model).diam_mean / params.diameter)

    async def segment(self, image: Pixels, plan: Plan, job: Job) -> Segmentation:
        """Segments one image.

        Args:
            image: [C, Y, X], finite.
            plan: What `plan` made of it.
            job: Lane, deadline, wanted outputs; its timing is filled in.

        Raises:
            ServiceError: As its subclasses say.
        """
        with self.stage(job, "preprocess"):
            scaled = await self.run(job, _prepare, image, plan, self.crew(job))
        with self.stage(job, "inference"):
            outputs: tuple[TileOutput, ...] = ("flows", "style") if "style" in job.outputs else ("flows",)
            tiles = await self.infer(scaled, plan.grid, plan.network, outputs, job)
        del scaled
        with self.stage(job, "reassemble"):
            maps = await self.run(job, assemble, tiles, plan.grid, plan.shape, self.crew(job))
            style = None if tiles.style is None else style_of(tiles)
        del tiles
        with self.stage(job, "postprocess"):
            result = await self.run(job, _recover, maps, style, plan, job.outputs, self.crew(job))
        self._metrics.pixels.inc(maps[0].size)
        self._metrics.image_pixels.observe(maps[0].size)
        self._metrics.objects.inc(len(result.objects))
        return result

    async def infer(
        self,
        scaled: NDArray[np.float32],
        grid: TileGrid,
        network: Network,
        outputs: tuple[TileOutput, ...],
        job: Job,
    ) -> Maps:
        """Sends each tile of an image [2, Y', X'] as a request, several at a time; returns the outputs of all tiles."""
        ahead = BATCHES_AHEAD * network.max_batch_size * self.triton.size
        window = asyncio.Semaphore(max(self._settings.tiles_in_flight_per_image, ahead))
        flows: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(grid)
        styles = np.empty((len(grid), STYLE_SIZE), np.float32) if "style" in outputs else None

        async def infer(index: int) -> None:
            async with window:
                tile = await self.run(job, grid.cut, scaled, index, index + 1)
                maps = await self.triton.infer(network.name, tile, outputs, job.priority, job.deadline)
            if maps.flows is not None:
                flows[index] = maps.flows[0]  # a view of the answer's bytes: no copy while the event loop waits
            if styles is not None:
                styles[index] = maps.style

        try:
            async with asyncio.TaskGroup() as tasks:
                for index in range(len(grid)):
                    tasks.create_task(infer(index))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        job.timing.tiles += len(grid)
        return Maps(flows if "flows" in outputs else None, styles)


def planes_of(image: Pixels, params: SegmentParams, crew: Crew) -> NDArray[np.float32]:
    """Returns the planes the networks look at, normalised, [2, Y, X]; `params` are resolved."""
    assert params.cytoplasm_channel is not None  # resolved
    assert params.nucleus_channel is not None
    planes = select_channels(image, params.cytoplasm_channel, params.nucleus_channel)
    return normalize(planes, params.normalization, crew)


def assemble(tiles: Maps, grid: TileGrid, shape: tuple[int, int], crew: Crew) -> NDArray[np.float32]:
    """Returns the networks' maps at a size, [3, Y, X]; for masks the image's (paper: resized before the dynamics)."""
    assert tiles.flows is not None  # asked for
    return _finite(resize(reassemble(tiles.flows, grid, crew), shape, crew))


def style_of(tiles: Maps) -> NDArray[np.float32]:
    """Returns the style of an image, [256], of unit length."""
    assert tiles.style is not None  # asked for
    return _finite(image_style(tiles.style))


def _prepare(image: Pixels, plan: Plan, crew: Crew) -> NDArray[np.float32]:
    """Returns the networks' view of the image, [2, Y', X'] (paper: normalised, then resized)."""
    return resize(planes_of(image, plan.params, crew), plan.scaled, crew)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise InternalError("the inference server's answer is not finite", reason="TRITON_BAD_ANSWER")
    return values


def _recover(
    maps: NDArray[np.float32],
    style: NDArray[np.float32] | None,
    plan: Plan,
    outputs: frozenset[Output],
    crew: Crew,
) -> Segmentation:
    recovered = recover_masks(maps, plan.params.recovery, crew)
    return Segmentation(
        labels=recovered.labels,
        objects=measure_objects(recovered.labels, maps[2], recovered.flow_errors, crew),
        params=plan.params,
        diameter_source=plan.diameter_source,
        network=plan.network,
        outlines=trace_outlines(recovered.labels, crew) if "outlines" in outputs else None,
        flows=maps[:2] / np.float32(FLOW_SCALE) if "flows" in outputs else None,
        cell_probability=maps[2] if "cell_probability" in outputs else None,
        style=style,
    )
