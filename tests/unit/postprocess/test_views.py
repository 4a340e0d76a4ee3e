"""The maps of three views become those of a volume."""

import numpy as np
import pytest
from cellserve_postprocess import ViewSums, smooth_view
from cellserve_preprocess import SECTION_AXES
from scipy.ndimage import gaussian_filter1d

SHAPE = (5, 6, 7)


def views() -> np.ndarray:
    """Random maps of the three views, float32 [3, 3, Z, Y, X]."""
    return np.random.default_rng(0).normal(size=(3, 3, *SHAPE)).astype(np.float32)


def test_the_paper_averages_what_each_view_shows():
    xy, xz, yz = views()
    sums = ViewSums(SHAPE)
    for across, view in enumerate((xy, xz, yz)):
        sums.add(view, across, 1.0)
    expected = [(xz[0] + yz[0]) / 2, (xy[0] + yz[1]) / 2, (xy[1] + xz[1]) / 2, (xy[2] + xz[2] + yz[2]) / 3]
    np.testing.assert_allclose(sums.maps(), expected, rtol=1e-5, atol=1e-6)
    assert SECTION_AXES == ((1, 2), (0, 2), (0, 1))


def test_views_have_weights():
    xy, xz, yz = views()
    sums = ViewSums(SHAPE)
    for across, (view, weight) in enumerate(((xy, 1.0), (xz, 0.5), (yz, 0.5))):
        sums.add(view, across, weight)
    maps = sums.maps()
    np.testing.assert_allclose(maps[0], (xz[0] + yz[0]) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps[1], (xy[0] + yz[1] / 2) / 1.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps[3], (xy[2] + xz[2] / 2 + yz[2] / 2) / 2, rtol=1e-5, atol=1e-6)


def test_cellpose_adds_the_views():
    xy, xz, yz = views()
    sums = ViewSums(SHAPE)
    for across, view in enumerate((xy, xz, yz)):
        sums.add(view, across, 1.0)
    expected = [xz[0] + yz[0], xy[0] + yz[1], xy[1] + xz[1], xy[2] + xz[2] + yz[2]]
    np.testing.assert_allclose(sums.maps(mean=False), expected, rtol=1e-5, atol=1e-6)


def test_a_flow_that_no_view_shows_is_zero():
    xy, xz, yz = views()
    sums = ViewSums(SHAPE)
    for across, view in enumerate((xy, xz, yz)):
        sums.add(view, across, 0.0 if across else 1.0)
    maps = sums.maps()
    assert not maps[0].any()
    np.testing.assert_array_equal(maps[1:], xy)


@pytest.mark.parametrize("sigma", [0.4, 1.3, 20.0])
@pytest.mark.parametrize("across", [0, 1, 2])
def test_views_are_smoothed_across_their_sections(across, sigma):
    view = views()[across]
    radius = min(int(np.ceil(3 * sigma)), SHAPE[across] - 1)
    expected = gaussian_filter1d(view.astype(np.float64), sigma, 1 + across, mode="nearest", radius=radius)
    np.testing.assert_allclose(smooth_view(view, across, sigma), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1e-3])
def test_no_smoothing_leaves_the_view(sigma):
    view = views()[0]
    assert smooth_view(view, 0, sigma) is view


def test_one_section_is_its_own_mean():
    view = views()[0][:, :1]
    np.testing.assert_array_equal(smooth_view(view, 0, 2.0), view)
