from itertools import product

import numpy as np
import pytest
from cellserve_postprocess import reassemble
from cellserve_postprocess.reassemble import taper
from cellserve_preprocess import MARGIN, TILE, TileGrid

SHAPES = [(512, 300), (224, 224), (225, 1000), (100, 400), (30, 40), (1, 700), (1, 1)]


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
    np.testing.assert_allclose(together, maps, atol=2e-6)


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


@pytest.mark.parametrize("shape", [(3, 3, TILE, TILE), (4, 2, TILE, TILE), (4, 3, TILE, TILE - 1)])
def test_tiles_of_another_grid_are_refused(shape):
    with pytest.raises(ValueError, match="tiles"):
        reassemble(np.zeros(shape, dtype=np.float32), TileGrid.cover((300, 300), overlap=0))
