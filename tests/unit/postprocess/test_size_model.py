import math

import numpy as np
import pytest
from cellserve_postprocess import (
    STYLE_SIZE,
    RecoveryParams,
    SizeModel,
    bounded_diameter,
    explained_share,
    image_style,
    recover_masks,
    style_grid,
)
from cellserve_postprocess.size_model import STYLE_TILES
from cellserve_preprocess import TILE, TileGrid
from hypothesis import given
from hypothesis import strategies as st

ZEROS = (0.0,) * STYLE_SIZE


def test_formula():
    """exp(A . (s - mean) + log(diam_mean) + y_mean), with numbers that can be followed by hand."""
    coefficients = (2.0, -1.0, *ZEROS[2:])
    style_mean = (0.1, 0.2, *ZEROS[2:])
    model = SizeModel(coefficients, style_mean, 0.25, 30.0)
    style = np.zeros(STYLE_SIZE, np.float32)
    style[:2] = 0.6, 0.8
    assert model.diameter(style) == pytest.approx(30 * math.exp(2 * 0.5 - 0.6 + 0.25), rel=1e-6)


@pytest.mark.parametrize(
    ("log_diameter_mean", "expected"), [(-9.0, 5.0), (0.0, 30.0), (9.0, 10_000.0), (1e6, 10_000.0), (-1e6, 5.0)]
)
def test_predictions_stay_in_range(log_diameter_mean, expected):
    model = SizeModel(ZEROS, ZEROS, log_diameter_mean, 30.0)
    assert model.diameter(np.zeros(STYLE_SIZE, np.float32)) == pytest.approx(expected)
    assert 5 <= model.diameter(np.zeros(STYLE_SIZE, np.float32)) <= 10_000


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"coefficients": ZEROS[1:]}, "coefficients"),
        ({"coefficients": (math.nan, *ZEROS[1:])}, "coefficients"),
        ({"style_mean": (*ZEROS, 0.0)}, "style_mean"),
        ({"style_mean": (math.inf, *ZEROS[1:])}, "style_mean"),
        ({"log_diameter_mean": math.nan}, "log_diameter_mean"),
        ({"diam_mean": 0.0}, "diam_mean"),
        ({"diam_mean": math.inf}, "diam_mean"),
    ],
)
def test_refuses(changes, text):
    good = {"coefficients": ZEROS, "style_mean": ZEROS, "log_diameter_mean": 0.0, "diam_mean": 30.0}
    SizeModel(**good)
    with pytest.raises(ValueError, match=text):
        SizeModel(**good | changes)


def test_bounded_diameter():
    assert [bounded_diameter(value) for value in (0, 5, 17.5, 10_001, math.inf)] == [5, 5, 17.5, 10_000, 10_000]


def test_style_of_an_image_is_the_direction_of_the_mean():
    styles = np.zeros((2, STYLE_SIZE), np.float32)
    styles[0, 0], styles[1, 1] = 1, 1
    style = image_style(styles)
    assert style.dtype == np.float32
    np.testing.assert_allclose(style[:3], [math.sqrt(0.5), math.sqrt(0.5), 0], rtol=1e-6)
    assert not image_style(np.zeros((3, STYLE_SIZE), np.float32)).any()


@given(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), st.integers(1, 80))
def test_style_tiles_are_some_of_those_side_by_side(shape, most):
    grid, whole = style_grid(shape, most), TileGrid.cover(shape, overlap=0.0)
    assert 1 <= len(grid) <= most
    assert set(grid.starts_y) <= set(whole.starts_y)
    assert set(grid.starts_x) <= set(whole.starts_x)
    if len(whole) <= most:
        assert grid == whole, "all, where there are few"
    else:
        assert len(grid) > most / 2, "no fewer than can be had"


def test_style_tiles_of_a_large_image_lie_evenly():
    grid = style_grid((8192, 8192))
    assert (len(grid.starts_y), len(grid.starts_x), STYLE_TILES) == (8, 8, 64)
    assert np.ptp(np.diff(grid.starts_y)) <= TILE + 2
    assert grid.starts_y[0] + grid.starts_y[-1] + TILE == pytest.approx(8192, abs=TILE), "neither border is favoured"


def test_the_explained_share_counts_pixels_by_how_well_their_object_explains_the_flows():
    """Two equal disks: with perfect flows both count; without flows, a disk is foreground that no object explains."""
    y, x = np.mgrid[:60, :120] - 30
    maps = np.full((3, 60, 120), -5, np.float32)
    for centre in (0, 60):
        inside = y**2 + (x - centre) ** 2 < 20**2
        toward = np.stack([-y, centre - x]) / np.maximum(np.hypot(y, x - centre), 1)
        maps[:2, inside] = 5 * toward[:, inside]
        maps[2, inside] = 5
    params = RecoveryParams().resolved(2)
    recovered = recover_masks(maps, params)
    shares = {"both": explained_share(recovered, maps[2], params)}
    assert shares["both"] == pytest.approx(1 - recovered.flow_errors.mean() / params.flow_threshold, abs=1e-3)
    assert shares["both"] > 0.85
    maps[:2, :, 60:] = 0
    assert explained_share(recover_masks(maps, params), maps[2], params) == pytest.approx(shares["both"] / 2, abs=0.01)
    maps[2] = -5
    assert explained_share(recover_masks(maps, params), maps[2], params) == 0
