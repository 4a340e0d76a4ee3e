"""The way of one image: normalise, rescale, tile, infer, reassemble, recover. Knows no protobuf and no gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Literal, ParamSpec, TypeVar

import numpy as np
from cellserve_postprocess import ObjectTable, measure_objects, reassemble, recover_masks, trace_outlines
from cellserve_preprocess import TileGrid, normalize, rescaled_shape, resize, select_channels
from numpy.typing import NDArray

from .decode import Pixels
from .errors import DeadlinePassed, ImageTooLarge, InternalError, ModelUnknown
from .families import Family
from .metrics import Metrics
from .params import DiameterSource, SegmentParams
from .settings import Settings
from .triton import Network, Priority, Triton

P = ParamSpec("P")
R = TypeVar("R")
Output = Literal["outlines", "flows", "cell_probability", "style"]


@dataclass(slots=True)
class Timing:
    """Wall-clock seconds per stage; waits for a processor included."""

    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0
    reassemble: float = 0.0
    postprocess: float = 0.0
    encode: float = 0.0
    tiles: int = 0


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


@dataclass(slots=True)
class Job:
    """What accompanies an image on its way: lane, deadline, wanted outputs, and the time it took.

    Attributes:
        deadline: Event loop time after which the answer is of no use.
    """

    deadline: float
    priority: Priority = Priority.BATCH
    outputs: frozenset[Output] = frozenset()
    timing: Timing = field(default_factory=Timing)

    def remaining_s(self) -> float:
        """Returns the seconds left."""
        return self.deadline - asyncio.get_running_loop().time()


class Pipeline:
    """Segments images: numerics on a pool of threads, tiles at Triton, the event loop never blocked."""

    def __init__(
        self, settings: Settings, families: Mapping[str, Family], triton: Triton, executor: Executor, metrics: Metrics
    ) -> None:
        self.families = families
        self.triton = triton
        self._settings = settings
        self._executor = executor
        self._metrics = metrics

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

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a synchronous function on the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))

    @contextlib.contextmanager
    def stage(self, job: Job, name: str) -> Iterator[None]:
        """Measures a stage of a job. A deadline that passed is noticed between stages."""
        if job.remaining_s() <= 0:
            raise DeadlinePassed("the deadline passed while the image was worked on", stage=name)
        start = time.perf_counter()
        with self._metrics.stage(name):
            yield
        setattr(job.timing, name, time.perf_counter() - start)

    async def segment(self, image: Pixels, params: SegmentParams, job: Job) -> Segmentation:
        """Segments one image.

        Args:
            image: [C, Y, X], finite.
            params: Parameters; what is left open is chosen here.
            job: Lane, deadline, wanted outputs; its timing is filled in.

        Raises:
            ServiceError: As its subclasses say.
            ParameterError: A channel does not exist, or must be named.
        """
        family = self.family(params.model)
        params, source = params.resolved(len(image), family)
        network = self.triton.network(family.network(params.ensemble))

        with self.stage(job, "preprocess"):
            scaled, grid = await self.run(self._prepare, image, params, family)
        with self.stage(job, "inference"):
            tiles, style = await self._infer(scaled, grid, network, job)
        del scaled
        with self.stage(job, "reassemble"):
            maps = await self.run(_assemble, tiles, grid, image.shape[1:])
        del tiles
        with self.stage(job, "postprocess"):
            result = await self.run(_recover, maps, style, params, source, network, job.outputs)
        self._metrics.pixels.inc(maps[0].size)
        self._metrics.objects.inc(len(result.objects))
        return result

    def _prepare(self, image: Pixels, params: SegmentParams, family: Family) -> tuple[NDArray[np.float32], TileGrid]:
        """Returns the network's view of the image, [2, Y', X'], and its tiles (ALGORITHM: normalise, then resize)."""
        assert params.diameter is not None  # resolved
        assert params.cytoplasm_channel is not None
        assert params.nucleus_channel is not None
        scale = family.diam_mean / params.diameter
        shape = rescaled_shape(image.shape[1:], scale)
        grid = TileGrid.cover(shape, params.tile_overlap, params.augment)
        if len(grid) > self._settings.max_tiles:
            raise ImageTooLarge(
                f"scaled to objects of {family.diam_mean:g} px the image takes {len(grid):,} tiles; "
                f"the limit is {self._settings.max_tiles:,}: check the diameter",
                tiles=len(grid),
                limit_tiles=self._settings.max_tiles,
            )
        planes = select_channels(image, params.cytoplasm_channel, params.nucleus_channel)
        return resize(normalize(planes, params.normalization), shape), grid

    async def _infer(
        self, scaled: NDArray[np.float32], grid: TileGrid, network: Network, job: Job
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Sends each tile as a request, several at a time; returns [n, 3, tile, tile] and the image's style."""
        window = asyncio.Semaphore(self._settings.tiles_in_flight_per_image)
        outputs = ("flows", "style") if "style" in job.outputs else ("flows",)
        flows: NDArray[np.float32] | None = None
        styles = np.zeros((len(grid), 256), np.float32)

        async def infer(index: int) -> None:
            nonlocal flows
            async with window:
                tile = await self.run(grid.cut, scaled, index, index + 1)
                maps = await self.triton.infer(network.name, tile, outputs, job.priority, job.deadline)
            assert maps.flows is not None
            if flows is None:
                flows = np.empty((len(grid), *maps.flows.shape[1:]), np.float32)
            flows[index] = maps.flows[0]
            if maps.style is not None:
                styles[index] = maps.style[0]

        try:
            async with asyncio.TaskGroup() as tasks:
                for index in range(len(grid)):
                    tasks.create_task(infer(index))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        assert flows is not None
        job.timing.tiles = len(grid)
        if "style" not in job.outputs:
            return flows, None
        style = styles.mean(axis=0)
        return flows, style / max(float(np.linalg.norm(style)), 1e-12)


def _assemble(tiles: NDArray[np.float32], grid: TileGrid, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the network's maps at the size of the image, [3, Y, X] (paper: resized back before the dynamics)."""
    maps = resize(reassemble(tiles, grid), shape)
    if not np.isfinite(maps).all():
        raise InternalError("the inference server's answer is not finite", reason="TRITON_BAD_ANSWER")
    return maps


def _recover(
    maps: NDArray[np.float32],
    style: NDArray[np.float32] | None,
    params: SegmentParams,
    source: DiameterSource,
    network: Network,
    outputs: frozenset[Output],
) -> Segmentation:
    recovered = recover_masks(maps, params.recovery)
    return Segmentation(
        labels=recovered.labels,
        objects=measure_objects(recovered.labels, maps[2], recovered.flow_errors),
        params=params,
        diameter_source=source,
        network=network,
        outlines=trace_outlines(recovered.labels) if "outlines" in outputs else None,
        flows=maps[:2] / np.float32(5.0) if "flows" in outputs else None,
        cell_probability=maps[2] if "cell_probability" in outputs else None,
        style=style,
    )
