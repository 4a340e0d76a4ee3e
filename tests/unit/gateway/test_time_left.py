"""An image whose tiles cannot be computed before its deadline is refused before any work."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from cellserve_contract.model_card import Family, NetworkFile
from cellserve_contract.params import SegmentParams
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.families import Families
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.app.networks import Network, TileOutputs
from cellserve_gateway.app.params import DiameterSource
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import DeadlineTooNear, InternalError
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings
from cellserve_preprocess import TileGrid

IMAGE = np.random.default_rng(0).integers(0, 99, (1, 96, 96), np.uint8)


class Networks:
    """Networks of a stated speed that find nothing.

    Attributes:
        tiles_per_s: Whole tiles; None: not known.
        any_size: Whether the networks take tiles of any size.
        failure: What each tile raises.
        hold: Tiles wait for it.
    """

    def __init__(self) -> None:
        self.tiles_per_s: float | None = None
        self.any_size = False
        self.tiles = 0
        self.failure: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    def ready(self, name: str) -> bool:
        return True

    def check(self, name: str) -> None:
        pass

    def network(self, name: str) -> Network:
        return Network(name, "1", "0" * 64, 8, any_size=self.any_size)

    def tiles_ahead(self, network: Network) -> int:
        return 16

    def least_seconds(self, name: str, tiles: int, priority: Priority) -> float | None:
        return self.tiles_per_s and tiles / self.tiles_per_s

    async def infer(self, name: str, tiles: np.ndarray, outputs, context: RequestContext) -> TileOutputs:
        self.tiles += len(tiles)
        await self.hold.wait()
        if self.failure:
            raise InternalError("refused") from self.failure
        return TileOutputs(np.full((len(tiles), 3, 224, 224), -5, np.float32), None, self.network(name))


@contextlib.contextmanager
def segmenting(networks: Networks) -> Iterator[Segmenter]:
    files = {name: NetworkFile(sha256="0" * 64) for name in ("cells", "cells_single")}
    about = {"description": "", "license": "", "provenance": ""}
    family = Family(name="cells", diam_mean=30.0, channels=(), tile_size=224, networks=files, **about)
    with contextlib.closing(WorkerThreads(1, 1)) as workers:
        instruments = Instruments(Metrics(), Tracing(None))
        settings = Settings()
        families, files = Families([family], "cells"), ImageFiles(settings)
        yield Segmenter(settings, families, networks, workers, instruments, files)


async def segment(
    segmenter: Segmenter, context: RequestContext, diameter: float = 1, image: np.ndarray = IMAGE
) -> None:
    with Admission(Settings(), Metrics()).admit(requests=1) as reservation:
        params = SegmentParams(model="cells", diameter=diameter)
        await segmenter.segment(lambda: Decoded(image[np.newaxis]), params, Wanted(), context, reservation)


def seconds_left(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("budget", [False, True])
async def test_refused_before_any_work(budget):
    networks = Networks()
    networks.tiles_per_s = 10.0
    tiles = TileGrid.count((96 * 30, 96 * 30), 0.1, False)
    needed = tiles / networks.tiles_per_s
    context = RequestContext(deadline=seconds_left(600 if budget else needed - 1))
    context.work_budget_s = needed - 1 if budget else None
    with segmenting(networks) as segmenter, pytest.raises(DeadlineTooNear) as caught:
        await segment(segmenter, context)
    assert caught.value.reason == ("WORK_BUDGET_EXCEEDED" if budget else "DEADLINE_EXCEEDED")
    assert caught.value.metadata["tiles"] == str(tiles)
    assert float(caught.value.metadata["estimated_s"]) == pytest.approx(needed, abs=0.01)
    assert float(caught.value.metadata["left_s"]) == pytest.approx(needed - 1, abs=0.5)
    assert (networks.tiles, context.timing.preprocess, context.timing.inference) == (0, 0, 0)


@pytest.mark.parametrize("tiles_per_s", [None, 1e4])
async def test_what_may_be_possible_is_tried(tiles_per_s):
    networks = Networks()
    networks.tiles_per_s = tiles_per_s
    context = RequestContext(deadline=seconds_left(30))
    with segmenting(networks) as segmenter:
        await segment(segmenter, context, diameter=10)
    assert networks.tiles == context.timing.tiles > 1


@pytest.mark.parametrize("any_size", [False, True])
async def test_small_tiles_take_less_time(any_size):
    """100 tiles of 48 x 48 pixels have the pixels of four whole tiles."""
    networks, shape = Networks(), (100, 30, 30)
    networks.tiles_per_s, networks.any_size = 1.0, any_size
    params = SegmentParams(model="cells", diameter=30, stack_mode="planes", anisotropy=1, tile_margin="cellpose3")
    context = RequestContext(deadline=seconds_left(50))
    refused = contextlib.nullcontext() if any_size else pytest.raises(DeadlineTooNear)
    with segmenting(networks) as segmenter, refused:
        segmenter._stack_planner.plan(shape, params, DiameterSource.CALLER, context)


async def test_without_a_deadline_nothing_is_too_late():
    networks = Networks()
    networks.tiles_per_s = 1e-6
    with segmenting(networks) as segmenter:
        await segment(segmenter, RequestContext(deadline=math.inf), diameter=30)
    assert networks.tiles == 1


async def test_the_cause_of_a_failure_is_kept():
    networks = Networks()
    networks.failure = ValueError("unexpected shape for input 'image'")
    with segmenting(networks) as segmenter, pytest.raises(InternalError) as caught:
        await segment(segmenter, RequestContext(deadline=seconds_left(30)))
    assert caught.value.__cause__ is networks.failure


async def test_a_cancelled_image_is_freed_at_once():
    """Not when Python collects garbage: until then, thousands of cancelled calls fill the memory."""
    networks = Networks()
    networks.hold.clear()
    image = np.tile(IMAGE, (7, 7))
    freed = weakref.ref(image)
    gc.collect()
    gc.disable()
    try:
        with segmenting(networks) as segmenter:
            task = asyncio.create_task(segment(segmenter, RequestContext(), 30, image))
            del image
            async with asyncio.timeout(20):
                while not networks.tiles:  # noqa: ASYNC110 - the condition is a number
                    await asyncio.sleep(0.01)
            assert freed() is not None
            task.cancel()
            await asyncio.wait({task})
            del task
            await asyncio.sleep(0.05)
            assert freed() is None
    finally:
        gc.enable()
