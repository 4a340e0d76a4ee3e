"""The stream of the tiles of an image: bounded, in any order, ended by the first failure."""

import asyncio
import random
import weakref

import numpy as np
import pytest
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.networks import TileOutputs
from cellserve_gateway.app.pipeline import Pipeline, TileWindow
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import BackendUnavailable, DeadlinePassed, InternalError
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings
from cellserve_postprocess import MapSums
from cellserve_preprocess import TileGrid

from .perfect import Triton

GRID = TileGrid.cover((1000, 1100))
PLANE = np.random.default_rng(0).normal(size=(2, *GRID.shape)).astype(np.float32)
WINDOW = 5


class Echo(Triton):
    """Answers after a random time: the maps of a tile are its planes and their sum.

    Attributes:
        at_work: Tiles at the backend now, and the most there ever were.
        kept: Answers that somebody still holds, and the most there ever were.
        fails: Called with the number of each tile, in the order of arrival.
    """

    def __init__(self, fails=lambda number: None) -> None:
        super().__init__()
        self.at_work = self.kept = (0, 0)
        self.fails = fails
        self._random = random.Random(0)

    def tiles_ahead(self, network) -> int:
        return 1

    async def infer(self, name, tiles, outputs, context) -> TileOutputs:
        self.calls.append(name)
        number = len(self.calls)
        self.at_work = count(self.at_work, 1)
        try:
            await asyncio.sleep(self._random.random() / 200)
            self.fails(number)
        finally:
            self.at_work = count(self.at_work, -1)
        maps = np.concatenate([tiles, tiles.sum(axis=1, keepdims=True)], axis=1)
        self.kept = count(self.kept, 1)
        weakref.finalize(maps, self._forgotten)
        return TileOutputs(maps, np.repeat(self.style, len(tiles), axis=0), self.network(name))

    def _forgotten(self) -> None:
        self.kept = count(self.kept, -1)


def count(now_and_most, change):
    now, most = now_and_most
    return now + change, max(most, now + change)


@pytest.fixture
def made():
    """Makes a pipeline on a backend."""
    threads = WorkerThreads(2, 1)

    def make(triton):
        options = Settings(tiles_in_flight_per_image=WINDOW)
        return Pipeline(options, triton, threads, Instruments(Metrics(), Tracing(None)))

    yield make
    threads.close()


async def infer(pipeline, plane=PLANE, grid=GRID, seconds=60.0, **options):
    context = RequestContext("r", deadline=asyncio.get_running_loop().time() + seconds)
    return await pipeline.infer(plane, grid, pipeline.backend.network("cells"), ("maps", "style"), context, **options)


async def test_tiles_in_flight_are_bounded_and_answers_are_forgotten(made):
    triton = Echo()
    outputs = await infer(made(triton))
    assert len(triton.calls) == len(GRID) == 36
    assert triton.at_work == (0, WINDOW)
    await forgotten(triton)
    assert triton.kept[1] <= WINDOW
    maps = outputs.maps(made(triton).workers.group(RequestContext("r")))
    np.testing.assert_allclose(maps, [*PLANE, PLANE.sum(axis=0)], atol=5e-6)
    assert outputs.styles.shape == (len(GRID), 256)


async def test_the_order_of_the_answers_does_not_matter(made):
    triton, again = Echo(), Echo()
    again._random.seed(1)
    one, other = await infer(made(triton)), await infer(made(again))
    np.testing.assert_array_equal(one.sums.sums, other.sums.sums)


async def test_parts_of_an_image_are_inferred_like_the_image(made):
    whole, joined = await infer(made(Echo())), MapSums(GRID)
    for rows in (range(2), range(2, 6)):
        for columns in (range(5), range(5, 6)):
            part = GRID.part(rows, columns)
            joined.join((await infer(made(Echo()), PLANE[:, *part.extent], part)).sums)
    np.testing.assert_array_equal(joined.sums, whole.sums.sums)


async def test_planes_share_a_window(made):
    triton = Echo()
    pipeline, window = made(triton), TileWindow(WINDOW)
    planes = await asyncio.gather(*(infer(pipeline, PLANE + number, window=window) for number in range(3)))
    assert triton.at_work == (0, WINDOW)
    assert triton.kept[1] <= WINDOW
    for number, plane in enumerate(planes):
        alone = await infer(pipeline, PLANE + number)
        np.testing.assert_array_equal(plane.sums.sums, alone.sums.sums)


async def test_the_first_failure_ends_the_others(made):
    def fails(number):
        if number == 9:
            raise BackendUnavailable("all are gone")

    triton, window = Echo(fails), TileWindow(WINDOW)
    with pytest.raises(BackendUnavailable, match="all are gone"):
        await infer(made(triton), window=window)
    await ended(triton)
    assert not window.locked(), "the next plane of the request can begin"


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_answers_that_are_not_finite_are_the_inference_servers_fault(made, value):
    triton, plane = Echo(), PLANE.copy()
    plane[1, 500, 500] = value
    with pytest.raises(InternalError) as caught:
        await infer(made(triton), plane)
    assert caught.value.reason == "TRITON_BAD_ANSWER"
    del caught
    await ended(triton)


async def ended(triton):
    """Checks that no tile is in work, and that nobody keeps an answer."""
    assert triton.at_work[0] == 0
    assert len(triton.calls) < len(GRID)
    await forgotten(triton)


async def forgotten(triton):
    """Checks that nobody keeps an answer."""
    await asyncio.sleep(0.1)  # threads let go of the last tiles
    assert triton.kept[0] == 0


async def test_the_deadline_ends_the_stream_whatever_the_backend_does(made):
    class Silent(Echo):
        async def infer(self, *_):
            await asyncio.sleep(60)

    with pytest.raises(DeadlinePassed):
        await infer(made(Silent()), seconds=0.1)
