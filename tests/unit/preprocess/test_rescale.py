import numpy as np
import pytest
from cellserve_preprocess import rescaled_shape, resize


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [((100, 200), 0.5, (50, 100)), ((101, 33), 1.5, (151, 49)), ((1, 65536), 0.25, (1, 16384)), ((3, 3), 0.01, (1, 1))],
)
def test_scaled_shapes_drop_fractions_and_keep_a_pixel(shape, scale, expected):
    assert rescaled_shape(shape, scale) == expected


def test_the_same_shape_returns_the_planes_themselves():
    planes = np.ones((2, 5, 6), dtype=np.float32)
    assert resize(planes, (5, 6)) is planes


def test_halving_averages_pairs_and_every_plane_is_its_own():
    planes = np.stack([np.arange(8.0), 10 * np.arange(8.0)]).astype(np.float32)[:, np.newaxis].repeat(2, axis=1)
    np.testing.assert_allclose(resize(planes, (1, 4))[:, 0], [[0.5, 2.5, 4.5, 6.5], [5, 25, 45, 65]])


def test_enlarging_interpolates_between_pixel_centres():
    ramp = np.array([[[0.0, 1.0]]], dtype=np.float32)
    np.testing.assert_allclose(resize(ramp, (1, 4))[0, 0], [0, 0.25, 0.75, 1])


@pytest.mark.parametrize("shape", [(65536, 1), (1, 65536)])
def test_very_long_images(shape):
    planes = np.ones((3, *shape), dtype=np.float32)
    smaller = resize(planes, rescaled_shape(shape, 0.75))
    assert smaller.shape == (3, *(max(1, length * 3 // 4) for length in shape))
    np.testing.assert_array_equal(resize(smaller, shape), planes)
