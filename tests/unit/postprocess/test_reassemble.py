from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import MapSums
from cellserve_postprocess.reassemble import LARGEST, UNIT, taper
from cellserve_preprocess import MARGIN, TILE, TileGrid

SHAPES = [(512, 300), (224, 224), (225, 1000), (100, 400), (30, 40), (1, 700), (1, 1)]


def reassemble(tiles, grid):
    sums = MapSums(grid)
    for index, tile in enumerate(tiles):
        sums.add(index, tile)
    return sums.maps()


def outputs_of(maps, grid):
    """Tiles a network would put out whose answer is `maps` in every orientation."""
    tiles = grid.cut(maps, 0, len(grid))
    for index, tile in enumerate(tiles):
        flip_y, flip_x = grid.flips(index)
        if flip_y:
            tile[0] *= -1
        if flip_x:
            tile[1] *= -1
    return tiles


def test_taper_has_the_published_constants():
    weight = np.outer(taper(), taper())
    assert weight[0, 0] == pytest.approx(0.00478, abs=5e-6)
    assert weight[111, 111] == pytest.approx(0.99999, abs=5e-6)
    np.testing.assert_allclose(weight, weight[::-1, ::-1], rtol=1e-12)
    assert (np.diff(taper()[:112]) > 0).all()


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cut_tiles_go_together_again(shape, augment):
    maps = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    grid = TileGrid.cover(shape, augment=augment)
    together = reassemble(outputs_of(maps, grid), grid)
    assert together.shape == maps.shape
    assert together.dtype == np.float32
    assert together.flags.c_contiguous
    np.testing.assert_allclose(together, maps, atol=9 * UNIT / 2)  # at most nine tiles in a pixel


def test_overlaps_are_averages_by_taper():
    grid = TileGrid.cover((224, 400), overlap=0.1)
    tiles = np.random.default_rng(0).normal(size=(len(grid), 3, TILE, TILE)).astype(np.float32)
    frame = (240, 416)
    total, weights = np.zeros((3, *frame)), np.zeros(frame)
    weight = np.outer(taper(), taper())
    for tile, (y, x) in zip(tiles, product(grid.starts_y, grid.starts_x), strict=True):
        total[:, y : y + TILE, x : x + TILE] += weight * tile
        weights[y : y + TILE, x : x + TILE] += weight
    expected = (total / weights)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    np.testing.assert_allclose(reassemble(tiles, grid), expected, atol=1e-5)


def test_seams_are_smooth_where_tiles_disagree():
    grid = TileGrid.cover((TILE - 2 * MARGIN, 400), overlap=0.5)
    tiles = np.zeros((len(grid), 3, TILE, TILE), dtype=np.float32)
    tiles[::2] = 1
    profile = reassemble(tiles, grid)[0, 100]
    assert np.ptp(profile) > 0.9
    # The share of a tile falls as a logistic function of twice the taper's slope, 2 / (4 * 7.5) a pixel.
    assert np.abs(np.diff(profile)).max() < 0.07


def test_the_tiles_are_left_alone():
    grid = TileGrid.cover((300, 300), augment=True)
    tiles = np.ones((len(grid), 3, TILE, TILE), dtype=np.float32)
    tiles.flags.writeable = False
    reassemble(tiles, grid)
    assert (tiles == 1).all()


def test_threads_add_tiles_side_by_side():
    grid = TileGrid.cover((900, 900), overlap=0.5)
    tiles = np.random.default_rng(0).normal(size=(len(grid), 3, TILE, TILE)).astype(np.float32)
    sums, alone = MapSums(grid), MapSums(grid)
    for index, tile in enumerate(tiles):
        alone.add(index, tile)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sums.add, range(len(grid)), tiles))
        np.testing.assert_array_equal(sums.sums, alone.sums)
        np.testing.assert_array_equal(sums.maps(ThreadGroup(pool, 3)), alone.maps())


def test_the_precision_is_that_of_a_unit_for_each_tile():
    grid = TileGrid.cover((500, 500), overlap=0.1)
    tiles = np.random.default_rng(0).normal(scale=5, size=(len(grid), 3, TILE, TILE)).astype(np.float32)
    sums, expected = MapSums(grid), np.zeros((3, *grid.frame))
    weights = [np.zeros(length) for length in grid.frame]
    for total, starts in zip(weights, (grid.starts_y, grid.starts_x), strict=True):
        for start in starts:
            total[start : start + TILE] += taper()
    for index, (tile, (y, x)) in enumerate(zip(tiles, product(grid.starts_y, grid.starts_x), strict=True)):
        sums.add(index, tile)
        weight = np.outer(taper() / weights[0][y : y + TILE], taper() / weights[1][x : x + TILE])
        expected[:, y : y + TILE, x : x + TILE] += weight * tile
    error = sums.maps() - expected[:, MARGIN : MARGIN + 500, MARGIN : MARGIN + 500]
    assert np.abs(error).max() < 4 * UNIT / 2 + 30 * 2**-22  # four tiles, and values of up to 30 in single precision


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_sums_of_three_maps_of_the_largest_values_fit(value):
    grid = TileGrid.cover((300, 300), overlap=0.5)
    sums = MapSums(grid)
    for index in range(len(grid)):
        sums.add(index, np.full((3, TILE, TILE), value, np.float32))
    assert np.abs(3 * sums.sums.astype(np.int64)).max() <= np.iinfo(np.int32).max
    np.testing.assert_allclose(sums.maps(), np.sign(value) * LARGEST, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("augment", [False, True])
def test_tiles_that_are_not_finite_are_refused(value, augment):
    grid = TileGrid.cover((300, 300), augment=augment)
    tile = np.zeros((3, TILE, TILE), np.float32)
    tile[1, 100, 77] = value
    for index in range(len(grid)):
        with pytest.raises(FloatingPointError, match="not finite"):
            MapSums(grid).add(index, tile)


def test_tiles_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        MapSums(TileGrid.cover((300, 300))).add(0, np.zeros((3, TILE, TILE - 1), np.float32))


def test_sums_that_do_not_fit_are_refused():
    grid = TileGrid.cover((600, 600))
    sums = MapSums(grid.part(range(1), range(1, 3)))
    for array in (np.zeros((3, 600, 600), np.int32), np.zeros(sums.sums.shape, np.int64)):
        with pytest.raises(ValueError, match="int32 of shape"):
            MapSums(sums.grid, array)
    for other in (TileGrid.cover((600, 600), augment=True), TileGrid.cover((600, 601)), grid.part(range(2), range(1))):
        with pytest.raises(ValueError, match="part of the grid"):
            MapSums(other).join(sums)


def test_maps_are_the_end():
    sums = MapSums(TileGrid.cover((10, 10)))
    sums.maps()
    with pytest.raises(ValueError, match="maps"):
        sums.add(0, np.zeros((3, TILE, TILE), np.float32))
