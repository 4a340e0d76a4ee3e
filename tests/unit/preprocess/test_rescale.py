from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from cellserve_parallel import ThreadGroup
from cellserve_preprocess import rescaled_shape, resize, resize_region, source_region


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


@pytest.mark.parametrize("shape", [(150, 100), (37, 501), (1, 1), (611, 2), (300, 400), (33, 400)])
def test_resizing_is_that_of_opencv(shape):
    planes = np.random.default_rng(0).normal(size=(2, 300, 400)).astype(np.float32)
    expected = np.stack([cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR) for plane in planes])
    np.testing.assert_allclose(resize(planes, shape), expected, atol=1e-4)  # OpenCV's positions are in single precision


def test_an_axis_alone_and_planes_of_a_stack():
    """Distances along z differ from those along y and x."""
    stack = np.random.default_rng(0).normal(size=(2, 5, 30, 40)).astype(np.float32)
    between = resize(stack.reshape(2, 5, -1), (15, 30 * 40)).reshape(2, 15, 30, 40)
    np.testing.assert_array_equal(between[:, 1::3], stack)
    np.testing.assert_allclose(between[:, 2], stack[:, 0] * 2 / 3 + stack[:, 1] / 3, atol=1e-6)
    sections = resize(np.ascontiguousarray(stack.swapaxes(1, 2)), (15, 40))
    np.testing.assert_array_equal(sections.swapaxes(1, 2), between)


def test_threads_do_not_change_the_result():
    planes = np.random.default_rng(0).normal(size=(2, 700, 900)).astype(np.float32)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(resize(planes, (900, 1100), ThreadGroup(pool, 3)), resize(planes, (900, 1100)))


def test_a_plane_of_zeros_stays_one_and_arguments_are_left_alone():
    planes = np.stack([np.zeros((20, 30), np.float32), np.ones((20, 30), np.float32)])
    planes.flags.writeable = False
    resized = resize(planes, (33, 44))
    assert not resized[0].any()
    assert (resized[1] == 1).all()


def test_a_window_that_lacks_pixels_is_refused():
    source, target, region = (100, 100), (50, 60), (slice(10, 20), slice(0, 60))
    assert source_region(source, target, region) == (slice(20, 40), slice(0, 100))
    planes = np.ones((2, 100, 100), np.float32)
    assert resize_region(planes[:, 20:40], (20, 0), source, target, region).shape == (2, 10, 60)
    for window, corner in ((planes[:, 21:40], (21, 0)), (planes[:, 20:39], (20, 0)), (planes[:, 20:40, 1:], (20, 1))):
        with pytest.raises(ValueError, match="lacks pixels"):
            resize_region(window, corner, source, target, region)
