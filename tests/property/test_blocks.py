"""Parts of an image give what the whole gives, bit for bit: resizing, cutting, blending."""

from itertools import pairwise

import numpy as np
from cellserve_postprocess import MapSums, smooth_sections, smooth_view, smoothing_reach, to_maps
from cellserve_postprocess.reassemble import LARGEST, UNIT, taper
from cellserve_preprocess import TILE, TileGrid, reference, resize, resize_region, source_region
from hypothesis import given, settings
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(1, 90)


@st.composite
def regions(draw, shape):
    """Rows and columns of an image, not empty."""
    edges = (sorted(draw(st.sets(st.integers(0, length), min_size=2, max_size=2))) for length in shape)
    return tuple(slice(*pair) for pair in edges)


@given(st.data(), st.tuples(LENGTHS, LENGTHS), st.tuples(LENGTHS, LENGTHS), SEEDS)
def test_resizing_is_that_of_its_plain_twin_and_regions_are_those_of_the_whole(data, source, target, seed):
    planes = np.random.default_rng(seed).normal(size=(2, *source)).astype(np.float32)
    whole = resize(planes, target)
    np.testing.assert_array_equal(whole, [reference.resize(plane, target) for plane in planes])
    region = data.draw(regions(target))
    rows, columns = source_region(source, target, region)
    found = resize_region(planes[:, rows, columns], (rows.start, columns.start), source, target, region)
    np.testing.assert_array_equal(found, whole[:, *region])
    larger = resize_region(planes[:, :, columns.start :], (0, columns.start), source, target, region)
    np.testing.assert_array_equal(larger, found)


@given(st.data(), st.tuples(LENGTHS, LENGTHS), SEEDS)
def test_regions_at_the_same_scale_are_the_image_itself(data, shape, seed):
    planes = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    region = data.draw(regions(shape))
    rows, columns = source_region(shape, shape, region)
    found = resize_region(planes[:, rows, columns], (rows.start, columns.start), shape, shape, region)
    np.testing.assert_array_equal(found, planes[:, *region])


@given(st.data(), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2), st.floats(0, 5), st.booleans(), SEEDS)
def test_sections_are_smoothed_as_in_the_whole_view(data, shape, across, sigma, wide, seed):
    view = np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)
    count = shape[across]
    first, last = sorted(data.draw(st.sets(st.integers(0, count), min_size=2, max_size=2)))
    reach = smoothing_reach(sigma, count) + wide
    held = range(max(0, first - reach), min(last + reach, count))
    found = smooth_sections(np.take(view, held, 1 + across), across, sigma, held, range(first, last), count)
    np.testing.assert_array_equal(found, np.take(smooth_view(view, across, sigma), range(first, last), 1 + across))


@given(st.data(), st.tuples(st.integers(1, 2**20), LENGTHS), st.tuples(st.integers(1, 2**20), LENGTHS))
def test_regions_of_huge_images_need_the_pixels_around_them(data, source, target):
    region = data.draw(regions(target))
    for length, resized, pixels, needed in zip(
        source, target, region, source_region(source, target, region), strict=True
    ):
        first, last = ((2 * pixel + 1) * length - resized for pixel in (pixels.start, pixels.stop - 1))
        assert needed.start == min(max(first // (2 * resized), 0), length - 1)
        assert needed.stop == (pixels.stop if source == target else min(max(last // (2 * resized), 0) + 2, length))
    assert source_region(target, target, region) == region


@st.composite
def grids(draw):
    shape = draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    return TileGrid.cover(shape, draw(st.floats(0, 0.5)), draw(st.booleans()))


def cuts(draw, count):
    """Neighbouring ranges that cover so many rows or columns."""
    edges = [0, *sorted(draw(st.sets(st.integers(1, count - 1), max_size=2)) if count > 1 else ()), count]
    return [range(*pair) for pair in pairwise(edges)]


def outputs(grid, seed):
    """Outputs of a network for all tiles; some are larger than networks give."""
    values = np.random.default_rng(seed).normal(scale=5, size=(len(grid), 3, TILE, TILE)).astype(np.float32)
    values[:, 0, ::50, ::50] *= 1000
    return values


@settings(max_examples=20)
@given(grids(), SEEDS)
def test_parts_of_a_grid_cut_the_tiles_of_the_whole(grid, seed):
    image = np.random.default_rng(seed).random((2, *grid.shape), dtype=np.float32)
    tiles = grid.cut(image, 0, len(grid))
    rows, columns = len(grid.starts_y), len(grid.starts_x)
    part = grid.part(range(seed % rows, rows), range(max(1, seed % (columns + 1))))
    numbers = np.arange(len(grid)).reshape(rows, columns)[seed % rows :, : len(part.columns)].ravel()
    np.testing.assert_array_equal(part.cut(image[:, *part.extent], 0, len(part)), tiles[numbers])


@settings(max_examples=15)
@given(st.data(), grids(), SEEDS)
def test_tiles_in_any_order_and_sums_of_parts_give_the_sums_of_the_whole(data, grid, seed):
    tiles = outputs(grid, seed)
    whole, parts = MapSums(grid), MapSums(grid)
    for index in np.random.default_rng(seed).permutation(len(grid)):
        whole.add(index, tiles[index])
    numbers = np.arange(len(grid)).reshape(len(grid.starts_y), -1)
    for rows in cuts(data.draw, len(grid.starts_y)):
        for columns in cuts(data.draw, len(grid.starts_x)):
            part = MapSums(grid.part(rows, columns))
            for index, number in enumerate(numbers[rows.start : rows.stop, columns.start : columns.stop].ravel()):
                part.add(index, tiles[number])
            parts.join(MapSums(part.grid, part.sums))  # as the sums come back from elsewhere
    np.testing.assert_array_equal(parts.sums, whole.sums)
    np.testing.assert_array_equal(parts.sums, plain_sums(tiles, grid))
    np.testing.assert_array_equal(whole.maps(), to_maps(parts.sums))


def plain_sums(tiles, grid):
    """The plain twin: the weighted tiles, rounded to units, and added on the frame of the image."""
    sums = np.zeros((3, *grid.frame), np.int64)
    weights_y, weights_x = (
        weights(starts, length) for starts, length in zip((grid.starts_y, grid.starts_x), grid.frame, strict=True)
    )
    for index, tile in enumerate(np.clip(tiles, -LARGEST, LARGEST)):
        flip_y, flip_x = grid.flips(index)
        if flip_y:
            tile = tile[:, ::-1] * np.float32([-1, 1, 1])[:, None, None]
        if flip_x:
            tile = tile[:, :, ::-1] * np.float32([1, -1, 1])[:, None, None]
        row, column = grid.position(index)
        weighted = tile * np.outer(weights_y[row], weights_x[column]) / np.float32(UNIT)
        y, x = grid.starts_y[row], grid.starts_x[column]
        sums[:, y : y + TILE, x : x + TILE] += np.rint(weighted).astype(np.int64)
    margin = grid.corner(0)
    return sums[:, -margin[0] :, -margin[1] :][:, : grid.shape[0], : grid.shape[1]]


def weights(starts, length):
    """Weight of each tile in the pixels along one axis."""
    total = np.zeros(length)
    for start in starts:
        total[start : start + TILE] += taper()
    return [(taper() / total[start : start + TILE]).astype(np.float32) for start in starts]
