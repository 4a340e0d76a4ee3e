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
from cellserve_postprocess import FLOW_SCALE, ObjectTable, measure_objects, reassemble, recover_masks, trace_outlines
from cellserve_preprocess import TILE, TileGrid, normalize, rescaled_shape, resize, select_channels
from numpy.typing import NDArray

from .decode import Pixels
from .errors import DeadlinePassed, ImageTooLarge, InternalError, ModelUnknown
from .families import Family
from .feed import BATCHES_AHEAD
from .metrics import Metrics
from .params import DiameterSource, SegmentParams
from .settings import Settings
from .triton import Network, Priority, Triton

STYLE_SIZE = 256

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What an image and its parameters come to, before any work: nothing is left open.

    Attributes:
        scaled: (Y, X) of the image at the networks' scale.
        grid: Its tiles.
    """

    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    scaled: tuple[int, int]
    grid: TileGrid

    @property
    def pixels(self) -> int:
        """Pixels the networks run on: what the image costs."""
        return len(self.grid) * TILE * TILE


class Pipeline:
    """Segments images: numerics on a pool of threads, tiles at Triton, the event loop never blocked."""

    def __init__(
        self,
        settings: Settings,
        families: Mapping[str, Family],
        triton: Triton,
        pools: Mapping[Priority, Executor],
        metrics: Metrics,
    ) -> None:
        self.families = families
        self.triton = triton
        self._settings = settings
        self._pools = pools
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

    async def run(self, lane: Priority, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a synchronous function on the lane's pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pools[lane], lambda: function(*args, **kwargs))

    @contextlib.contextmanager
    def stage(self, job: Job, name: str) -> Iterator[None]:
        """Measures a stage of a job. A deadline that passed is noticed between stages."""
        if job.remaining_s() <= 0:
            raise DeadlinePassed("the deadline passed while the image was worked on", stage=name)
        start = time.perf_counter()
        with self._metrics.stage(name):
            yield
        setattr(job.timing, name, time.perf_counter() - start)

    def plan(self, image: Pixels, params: SegmentParams) -> Plan:
        """Returns what segmenting an image [C, Y, X] comes to.

        Raises:
            ServiceError: The model is unknown or not there, or the image takes too many tiles.
            ParameterError: A channel does not exist, or must be named.
        """
        family = self.family(params.model)
        params, source = params.resolved(len(image), family)
        assert params.diameter is not None  # resolved
        scaled = rescaled_shape(image.shape[1:], family.diam_mean / params.diameter)
        grid = TileGrid.cover(scaled, params.tile_overlap, params.augment)
        if len(grid) > self._settings.max_tiles:
            raise ImageTooLarge(
                f"scaled to objects of {family.diam_mean:g} px the image takes {len(grid):,} tiles; "
                f"the limit is {self._settings.max_tiles:,}: check the diameter",
                resource="tiles",
                value=len(grid),
                limit=self._settings.max_tiles,
            )
        return Plan(params, source, self.triton.network(family.network(params.ensemble)), scaled, grid)

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
            scaled = await self.run(job.priority, _prepare, image, plan)
        with self.stage(job, "inference"):
            tiles, style = await self._infer(scaled, plan, job)
        del scaled
        with self.stage(job, "reassemble"):
            maps = await self.run(job.priority, _assemble, tiles, plan.grid, image.shape[1:])
        del tiles
        with self.stage(job, "postprocess"):
            result = await self.run(job.priority, _recover, maps, style, plan, job.outputs)
        self._metrics.pixels.inc(maps[0].size)
        self._metrics.objects.inc(len(result.objects))
        return result

    async def _infer(
        self, scaled: NDArray[np.float32], plan: Plan, job: Job
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Sends each tile as a request, several at a time; returns [n, 3, tile, tile] and the image's style."""
        grid, network = plan.grid, plan.network
        window = asyncio.Semaphore(
            max(self._settings.tiles_in_flight_per_image, BATCHES_AHEAD * network.max_batch_size)
        )
        outputs = ("flows", "style") if "style" in job.outputs else ("flows",)
        flows: NDArray[np.float32] | None = None
        styles = np.zeros((len(grid), STYLE_SIZE), np.float32)

        async def infer(index: int) -> None:
            nonlocal flows
            async with window:
                tile = await self.run(job.priority, grid.cut, scaled, index, index + 1)
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


def _prepare(image: Pixels, plan: Plan) -> NDArray[np.float32]:
    """Returns the networks' view of the image, [2, Y', X'] (paper: normalised, then resized)."""
    assert plan.params.cytoplasm_channel is not None  # resolved
    assert plan.params.nucleus_channel is not None
    planes = select_channels(image, plan.params.cytoplasm_channel, plan.params.nucleus_channel)
    return resize(normalize(planes, plan.params.normalization), plan.scaled)


def _assemble(tiles: NDArray[np.float32], grid: TileGrid, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the network's maps at the size of the image, [3, Y, X] (paper: resized back before the dynamics)."""
    maps = resize(reassemble(tiles, grid), shape)
    if not np.isfinite(maps).all():
        raise InternalError("the inference server's answer is not finite", reason="TRITON_BAD_ANSWER")
    return maps


def _recover(
    maps: NDArray[np.float32],
    style: NDArray[np.float32] | None,
    plan: Plan,
    outputs: frozenset[Output],
) -> Segmentation:
    recovered = recover_masks(maps, plan.params.recovery)
    return Segmentation(
        labels=recovered.labels,
        objects=measure_objects(recovered.labels, maps[2], recovered.flow_errors),
        params=plan.params,
        diameter_source=plan.diameter_source,
        network=plan.network,
        outlines=trace_outlines(recovered.labels) if "outlines" in outputs else None,
        flows=maps[:2] / np.float32(FLOW_SCALE) if "flows" in outputs else None,
        cell_probability=maps[2] if "cell_probability" in outputs else None,
        style=style,
    )
