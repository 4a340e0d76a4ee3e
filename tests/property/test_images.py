"""What must hold of every image on its way into the network and of every map on its way out."""

import numpy as np
from cellserve_postprocess import MapSums, RecoveryParams, recover_masks, tile_weights
from cellserve_postprocess.reassemble import UNIT, taper
from cellserve_preprocess import MARGIN, TILE, Normalization, TileGrid, normalize, select_channels
from cellserve_preprocess.border import border_fill
from cellserve_training.targets import masks_to_flows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = st.sampled_from([np.uint8, np.uint16, np.uint32, np.int16])
LENGTHS = st.integers(1, 700) | st.integers(1, 65536)


@given(
    image=DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=12))),
    low=st.floats(0, 60),
    high=st.floats(61, 100),
)
def test_percentiles_are_those_of_numpy(image, low, high):
    planes = select_channels(image, -1, 0)
    normalized = normalize(planes, Normalization(low=low, high=high)).planes
    for plane, result in zip(planes.astype(np.float64), normalized, strict=True):
        bottom, top = np.percentile(plane, [low, high])
        if top - bottom > 1e-9 and border_fill(plane) is None:
            expected = (plane - bottom) / (top - bottom)
            rounding = 4e-7 * (np.abs(plane).max() + abs(bottom)) / (top - bottom) + 1e-6 * np.abs(expected)
            assert (np.abs(result - expected) <= rounding).all()


EDGES = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(60, 90), st.integers(60, 90))
"""First row and column of a rectangle in 90 x 90 px, and one past its last ones."""


@given(
    dtype=st.sampled_from([np.uint8, np.int32, np.float32, np.float64]),
    values=st.lists(st.sampled_from([0, 1, 1 + 2e-7, 7, 100, 100 + 1e-5, 1e9]), min_size=2, max_size=4),
    rectangles=st.lists(EDGES, min_size=1, max_size=3),
    rule=st.sampled_from(["percentiles", "cellpose3"]),
)
def test_planes_of_few_values_become_finite(dtype, values, rectangles, rule):
    """Drawn masks, mosaics, frames: few exact values in shapes of simple outline."""
    plane = np.full((90, 90), np.minimum(values[0], 200), dtype)
    for value, (top, left, bottom, right) in zip(values[1:], rectangles, strict=False):
        plane[top:bottom, left:right] = np.minimum(value, 200) if dtype is np.uint8 else value
    normalized = normalize(np.stack([plane, plane.T]), Normalization(rule=rule)).planes
    assert np.isfinite(normalized).all()


@given(height=LENGTHS, width=LENGTHS, overlap=st.floats(0, 0.5), augment=st.booleans())
def test_the_grid_covers_every_pixel(height, width, overlap, augment):
    grid = TileGrid.cover((height, width), overlap, augment)
    assert grid.frame[0] >= height + 2 * MARGIN
    assert grid.frame[1] >= width + 2 * MARGIN
    for starts, length in zip((grid.starts_y, grid.starts_x), grid.frame, strict=True):
        assert starts[0] == 0
        assert starts[-1] == length - TILE
        assert all(0 <= step <= TILE for step in np.diff(starts))
        if not augment and length > TILE:
            assert len(starts) <= (1 + 2 * overlap) * length / TILE + 1


@settings(max_examples=30)
@given(
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    overlap=st.floats(0, 0.5),
    augment=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_cut_goes_together_again(height, width, overlap, augment, seed):
    maps = np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)
    grid = TileGrid.cover((height, width), overlap, augment)
    tiles = np.concatenate([grid.cut(maps, start, min(start + 3, len(grid))) for start in range(0, len(grid), 3)])
    sums = MapSums(grid)
    for index, tile in enumerate(tiles):
        flip_y, flip_x = grid.flips(index)
        tile[0] *= -1 if flip_y else 1
        tile[1] *= -1 if flip_x else 1
        sums.add(index, tile)
    # Up to nine tiles overlap. Each share is rounded twice, by less than a unit in all.
    np.testing.assert_allclose(sums.maps(), maps, rtol=1e-6, atol=9 * UNIT)


@settings(max_examples=50)
@given(length=LENGTHS, overlap=st.floats(0, 0.5), augment=st.booleans(), data=st.data())
def test_weights_of_a_part_are_those_of_the_whole(length, overlap, augment, data):
    """The weights are a tile's taper over the sum of all tapers, whatever the part."""
    grid = TileGrid.cover((length, 1), overlap, augment)
    first = data.draw(st.integers(0, len(grid.rows) - 1))
    rows = range(first, data.draw(st.integers(first + 1, len(grid.rows))))
    total = np.zeros(grid.frame[0])
    for start in grid.starts_y:
        total[start : start + TILE] += taper()
    plain = np.stack([taper() / total[start : start + TILE] for start in grid.starts_y]).astype(np.float32)
    weights, _ = tile_weights(grid.part(rows, grid.columns))
    np.testing.assert_array_equal(weights, (plain / np.float32(UNIT))[rows.start : rows.stop])


@given(
    maps=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40).map(lambda shape: (3, *shape)),
        elements=st.floats(width=32),
        fill=st.floats(-5, 5, width=32),
    ),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
    flow_threshold=st.sampled_from([0, 0.4]),
    min_size=st.integers(0, 20),
    fill_holes=st.booleans(),
    exclude_on_edges=st.booleans(),
)
def test_any_maps_give_a_proper_label_image(maps, **arguments):
    with np.errstate(all="ignore"):
        recovered = recover_masks(maps, RecoveryParams(**arguments))
    assert recovered.labels.shape == maps.shape[1:]
    numbers = np.unique(recovered.labels)
    np.testing.assert_array_equal(numbers[numbers > 0], np.arange(1, len(recovered.flow_errors) + 1))
    if not arguments["fill_holes"]:
        assert (maps[2][recovered.labels > 0] > 0).all()


@settings(max_examples=50)
@given(
    sizes=st.lists(st.tuples(st.integers(2, 9), st.integers(2, 9)), min_size=1, max_size=6),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
)
def test_ellipses_come_back(sizes, interpolation):
    """Each ellipse of odd axes has one central pixel, which perfect flows lead to."""
    labels = np.zeros((25, 22 * len(sizes)), dtype=np.uint16)
    y, x = np.indices((25, 22)) - np.array([12, 11])[:, np.newaxis, np.newaxis]
    for number, (radius_y, radius_x) in enumerate(sizes, start=1):
        inside = (y / radius_y) ** 2 + (x / radius_x) ** 2 <= 1
        labels[:, 22 * (number - 1) : 22 * number][inside] = number
    logit = np.where(labels > 0, np.float32(3), np.float32(-3))
    maps = np.concatenate([5 * masks_to_flows(labels), logit[np.newaxis]])
    params = RecoveryParams(interpolation=interpolation, min_size=0, max_size_fraction=1)
    np.testing.assert_array_equal(recover_masks(maps, params).labels, labels)
