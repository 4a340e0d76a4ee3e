"""Fill around an image is found, and nothing else is taken for it."""

import cv2
import numpy as np
import pytest
from cellserve_preprocess.border import border_fill

SHAPE = (120, 160)


def noise(shape=SHAPE, offset=1000):
    return (np.random.default_rng(0).normal(offset, 10, shape)).astype(np.uint16)


def framed(image, width, value=0):
    return np.pad(image[width:-width, width:-width], width, constant_values=value)


def turned(image, degrees, flags):
    turn = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), degrees, 1)
    return cv2.warpAffine(image, turn, image.shape[::-1], flags=flags)


def in_a_round_field(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] - np.array(image.shape).reshape(2, 1, 1) / 2
    return np.where(y**2 + x**2 < (min(image.shape) / 2 - 1) ** 2, image, 0)


def mosaic(image):
    filled = image.copy()
    filled[:30, :50] = 0
    filled[-20:, 110:] = 0
    return filled


def cells(count, background, diameter=16):
    """Bright discs in a row of eight columns."""
    image = background.copy()
    for number in range(count):
        row, column = divmod(number, 8)
        cv2.circle(image, (12 + 19 * column, 12 + 24 * row), diameter // 2, 3000, -1)
    return image


@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("width", [1, 3, 25])
def test_a_frame_of_one_value(width, value):
    border = border_fill(framed(noise(), width, value))
    assert border.value == value
    np.testing.assert_array_equal(~border.fill, np.pad(np.ones(np.subtract(SHAPE, 2 * width), bool), width))


@pytest.mark.parametrize("padding", [(0, 80), (10, 0), (200, 300)])
def test_padding_on_one_side(padding):
    padded = np.pad(noise(), [(0, pad) for pad in padding])
    assert border_fill(padded).share == pytest.approx(1 - noise().size / padded.size)


@pytest.mark.parametrize("flags", [cv2.INTER_NEAREST, cv2.INTER_LINEAR])
@pytest.mark.parametrize("degrees", [3, 17, 45, 80])
def test_the_corners_of_a_turned_image(degrees, flags):
    image = turned(noise(), degrees, flags)
    border = border_fill(image)
    assert border.value == 0
    assert not image[border.fill].any()
    assert border.share > 0.98 * np.mean(image == 0)


@pytest.mark.parametrize("make", [in_a_round_field, mosaic])
def test_other_shapes(make):
    image = make(noise())
    np.testing.assert_array_equal(border_fill(image).fill, image == 0)


def test_fill_may_occur_inside():
    image = framed(noise(), 3)
    image[60:70, 60:70] = 0
    assert not border_fill(image).fill[60:70, 60:70].any()


@pytest.mark.parametrize(
    "image",
    [
        noise(),
        noise(offset=5).clip(0, 65535),
        np.random.default_rng(0).poisson(0.2, SHAPE).astype(np.uint8),
        np.zeros(SHAPE, np.uint16),
        cells(1, np.zeros(SHAPE, np.uint16)),
        cells(1, np.zeros(SHAPE, np.uint16), diameter=20),
        cells(2, np.zeros(SHAPE, np.uint16)),
        cells(30, np.zeros(SHAPE, np.uint16)),
        cells(30, np.zeros(SHAPE, np.uint16), diameter=19),
        np.ones((1, 1), np.uint8),
        np.ones((1, 500), np.uint8),
        np.arange(500, dtype=np.float32)[None],
    ],
)
def test_what_is_no_fill(image):
    assert border_fill(image) is None


def test_a_stack_is_searched_plane_by_plane():
    """Planes of a stack that was shifted to fit have different frames; some planes have none."""
    planes = [framed(noise(), 3), noise(), framed(noise(), 5), framed(noise(), 4, value=9)]
    border = border_fill(np.stack(planes))
    assert border.value == 0
    for plane, width, fill in zip(planes, (3, 0, 5, 0), border.fill, strict=True):
        expected = np.pad(np.zeros(np.subtract(plane.shape, 2 * width), bool), width, constant_values=True)
        np.testing.assert_array_equal(fill, expected)


def test_a_stack_without_fill():
    assert border_fill(np.stack([noise()] * 3)) is None
