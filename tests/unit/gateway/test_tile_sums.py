"""Planes that are ready for the networks: what their grid may be, what they cost, and how their tiles are kept busy."""

from __future__ import annotations

import asyncio
import tracemalloc

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.grids import part_of_grid
from cellserve_gateway.app.networks import TileOutputs
from cellserve_gateway.errors import AnswerTooLarge, ImageTooLarge, InvalidRequest, Overloaded
from cellserve_postprocess import MapSums
from cellserve_preprocess import MARGIN, TILE, TileGrid
from hypothesis import given
from hypothesis import strategies as st

from .perfect import setup

SIDES = st.integers(1, 2000)


@given(SIDES, SIDES, st.floats(0, 0.5), st.booleans(), st.data())
def test_every_grid_of_ours_is_taken(height, width, overlap, augment, data):
    grid = TileGrid.cover((height, width), overlap, augment)
    starts = tuple([start - MARGIN for start in firsts] for firsts in (grid.starts_y, grid.starts_x))
    part = []
    for some in (grid.rows, grid.columns):
        first = data.draw(st.integers(0, len(some) - 1))
        part.append(range(first, data.draw(st.integers(first + 1, len(some)))))
    assert part_of_grid(grid.shape, starts, tuple(part), augment) == grid.part(*part)


@given(SIDES, st.lists(st.integers(-300, 2300), min_size=1, max_size=12))
def test_tiles_that_do_not_cover_the_plane_are_refused(length, starts):
    framed = np.zeros(max(length + 2 * MARGIN, TILE), bool)
    inside = all(0 <= start + MARGIN <= len(framed) - TILE for start in starts)
    for start in starts if inside else ():
        framed[start + MARGIN : start + MARGIN + TILE] = True
    fits = inside and framed.all() and starts == sorted(starts)
    try:
        part_of_grid((length, 1), (starts, [-MARGIN]), (range(1), range(1)), augment=False)
    except InvalidRequest as error:
        assert not fits
        assert error.metadata["field"] == "grid.starts_y"
    else:
        assert fits


@given(SIDES, st.lists(st.integers(0, TILE), max_size=12))
def test_tiles_that_cover_the_plane_are_taken(length, steps):
    last = max(length + 2 * MARGIN, TILE) - TILE - MARGIN
    starts = [-MARGIN]
    for step in steps:
        starts.append(min(starts[-1] + step, last))
    while starts[-1] < last:
        starts.append(min(starts[-1] + TILE, last))
    grid = part_of_grid((1, length), ([-MARGIN], starts), (range(1), range(len(starts))), augment=True)
    assert grid.extent == (slice(0, 1), slice(0, length))


async def run(made, planes, grid, *, most_bytes=1 << 30, decode=None, **params):
    decoded = Decoded(planes)
    with made.admission.admit(requests=1, bytes=planes.nbytes) as reservation:
        made.held = reservation.held
        return await made.segmenter.run_networks(
            decode or (lambda: decoded),
            planes.shape,
            grid,
            SegmentParams(model="cells", **params),
            made.context,
            reservation,
            most_bytes=most_bytes,
        )


class Echo:
    """Answers every tile with its first channel, thrice; waits until nothing more comes.

    Attributes:
        most: Most tiles that were at the backend at a time.
    """

    def __init__(self, made) -> None:
        self.most = self._now = 0
        self._network = made.triton.network
        made.triton.infer = self._infer

    async def _infer(self, name, tiles, outputs, context) -> TileOutputs:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.05)
        self._now -= 1
        return TileOutputs(np.repeat(tiles[:, :1], 3, axis=1), None, self._network(name))


@pytest.mark.parametrize("shape", [(40, 2, 20, 30), (2, 1, 500, 30), (1, 2, 700, 600)])
async def test_tiles_of_all_planes_fill_the_window(shape):
    planes = np.random.default_rng(0).random(shape, np.float32)
    grid = TileGrid.cover(shape[2:], 0.5, augment=True)
    with setup(None, tiles_in_flight_per_image=24) as made:
        echo = Echo(made)
        found = await run(made, planes, grid, ensemble=False)
        assert echo.most == min(24, shape[0] * len(grid))
        assert (found.network.name, found.family.name) == ("cells_single", "cells")
        assert made.context.timing.tiles == shape[0] * len(grid)
        assert made.metrics.pixels._value.get() == planes[:, 0].size
    for plane, sums in zip(planes, found.sums, strict=True):
        whole = MapSums(grid)
        both = np.concatenate([plane, np.zeros_like(plane)])[:2]
        for index in range(len(grid)):
            whole.add(index, np.repeat(grid.cut(both, index, index + 1)[0, :1], 3, axis=0))
        np.testing.assert_array_equal(sums, whole.sums)


async def test_the_memory_is_reserved_before_the_planes_are_unpacked():
    planes, grid = np.zeros((3, 1, 300, 300), np.float32), TileGrid.cover((300, 300))
    pixels, weights = planes.size, 4 * 16 * TILE

    def decode():
        assert made.held["bytes"] == planes.nbytes + pixels * (12 + 12 + 2 * 12) + weights
        assert made.held["pixels"] == 4 * TILE * TILE
        return Decoded(planes)

    with setup(None) as made:
        await run(made, planes, grid, decode=decode)
        assert made.admission.in_flight("bytes") == 0
    with setup(None, max_bytes_in_flight=10_000_000) as made, made.admission.admit(bytes=1):
        with pytest.raises(Overloaded):
            await run(made, planes, grid, decode=lambda: pytest.fail("the planes are unpacked"))
        assert not made.triton.calls


async def test_limits():
    planes, grid = np.zeros((4, 2, 20, 30), np.float32), TileGrid.cover((20, 30))
    size = planes[:, 0].size * 12
    with setup(None, max_tiles=3, max_stack_tiles=4) as made:
        assert (await run(made, planes, grid, most_bytes=size)).sums.nbytes == size
        with pytest.raises(AnswerTooLarge) as too_large:
            await run(made, planes, grid, most_bytes=size - 1)
        assert too_large.value.metadata == {"value": str(size), "limit": str(size - 1)}
        with pytest.raises(ImageTooLarge, match="5 tiles; the limit is 4"):
            await run(made, np.zeros((5, 2, 20, 30), np.float32), grid)
        with pytest.raises(ImageTooLarge, match="4 tiles; the limit is 3"):
            await run(made, planes[:1], TileGrid.cover((20, 30), augment=True))


def test_numbers_cost_nothing():
    """As many rows of tiles as a message can have: the grid takes memory for the numbers that came, and no more."""
    starts = [*range(-MARGIN, 65_000 * TILE, TILE)]
    length = starts[-1] + TILE - MARGIN
    tracemalloc.start()
    grid = part_of_grid((length, 1), (starts, [-MARGIN]), (range(64_998, 65_000), range(1)), augment=False)
    rows, columns = grid.extent
    assert (rows.stop - rows.start, columns.stop) == (2 * TILE, 1)
    sums = MapSums(grid)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sums.sums.shape == (3, 2 * TILE, 1)
    assert peak < 8_000_000
