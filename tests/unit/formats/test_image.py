"""Images with named axes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from cellserve_formats import Image, ImageError, PixelSize, check_pixels, guess_axes, planes, time_points
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("shape", "axes"), [((5, 7), "YX"), ((1, 1), "YX"), ((64, 64, 3), "YXS"), ((5, 5, 4), "YXS"), ((0, 4), "YX")]
)
def test_axes_that_are_clear(shape, axes):
    assert guess_axes(shape) == axes


@pytest.mark.parametrize(
    "shape", [(2, 64, 64), (3, 64, 64), (64, 64, 2), (64, 64, 1), (3, 64, 3), (64, 64, 64), (4, 4, 4)]
)
def test_axes_that_are_not(shape):
    with pytest.raises(ImageError, match="give axes='CYX'") as caught:
        guess_axes(shape)
    assert caught.value.reason == "AXES_UNKNOWN"


@pytest.mark.parametrize("shape", [(), (5,), (1, 2, 3, 4)])
def test_wrong_number_of_axes(shape):
    with pytest.raises(ValueError, match="two or three axes"):
        guess_axes(shape)


@pytest.mark.parametrize("axes", ["YX", "XY", "CYX", "YXC", "YXS", "SYX", "ZYX", "TZCYXS", "TCZYX"])
def test_axes_that_are_taken(axes):
    assert Image(np.zeros(range(1, len(axes) + 1)), axes).axes == axes


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("", ()), ("Y", (4,)), ("YY", (4, 5)), ("ZX", (4, 5)), ("YXQ", (4, 5, 6)), ("yx", (4, 5)), ("YX", (4, 5, 6))],
)
def test_axes_that_are_refused(axes, shape):
    with pytest.raises(ImageError) as caught:
        Image(np.zeros(shape), axes)
    assert caught.value.reason == "AXES_UNKNOWN"


@given(st.permutations("CYX") | st.permutations("SYX") | st.permutations("YX") | st.permutations("TZCYX"))
def test_planes_of_any_order_of_axes(letters):
    length = {"T": 1, "Z": 1, "C": 2, "S": 2, "Y": 3, "X": 4}
    pixels = np.arange(np.prod([length[letter] for letter in letters])).reshape([length[letter] for letter in letters])
    view = planes(Image(pixels, "".join(letters)))
    count = 1 if len(letters) == 2 else 2
    assert view.shape == (count, 3, 4)
    assert view.base is not None
    for c, y, x in np.ndindex(count, 3, 4):
        at = {"C": c, "S": c, "Y": y, "X": x}
        assert view[c, y, x] == pixels[tuple(at.get(letter, 0) for letter in letters)]


@pytest.mark.parametrize(("axes", "word"), [("ZYX", "a z stack"), ("TYX", "a time series"), ("CYXS", "channels and")])
def test_planes_of_more_than_two_dimensions(axes, word):
    with pytest.raises(ImageError, match=word) as caught:
        planes(Image(np.zeros((2, 3, 4, 5)[: len(axes)]), axes))
    assert caught.value.reason == "AXES_UNKNOWN"


@pytest.mark.parametrize("axes", ["TYX", "YXT", "ZTYX", "TZCYX"])
def test_time_points_are_views_in_order_of_time(axes):
    shape = tuple({"T": 3, "Z": 2, "C": 2, "Y": 4, "X": 5}[letter] for letter in axes)
    pixels = np.arange(np.prod(shape)).reshape(shape)
    series = Image(pixels, axes, PixelSize(0.5, 0.5), "movie.tif", frame_interval_s=2.0)
    points = list(time_points(series))
    assert len(points) == 3
    for number, point in enumerate(points):
        assert (point.axes, point.pixel_size, point.name) == (axes.replace("T", ""), series.pixel_size, series.name)
        np.testing.assert_array_equal(point.pixels, pixels.take(number, axes.index("T")))
        assert np.shares_memory(point.pixels, pixels)


def test_an_image_without_time_is_its_only_time_point():
    image = Image(np.zeros((4, 5)), "YX")
    assert list(time_points(image)) == [image]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e31, -1e31])
def test_pixels_that_are_not_finite(bad):
    pixels = np.zeros((4, 4))
    check_pixels(pixels)
    pixels[1, 2] = bad
    with pytest.raises(ImageError) as caught:
        check_pixels(pixels)
    assert (caught.value.reason, caught.value.metadata) == ("PIXELS_NOT_FINITE", {"pixels": 1})


@pytest.mark.parametrize("pixels", [np.zeros(2, complex), np.array(["a"]), np.array([None])])
def test_pixels_that_are_no_real_numbers(pixels):
    with pytest.raises(ImageError) as caught:
        check_pixels(pixels)
    assert caught.value.reason == "DATA_TYPE_UNSUPPORTED"


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("too large", "IMAGE_TOO_LARGE", limit=7)))
    assert (str(error), error.reason, error.metadata) == ("too large", "IMAGE_TOO_LARGE", {"limit": 7})
