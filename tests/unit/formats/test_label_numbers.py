"""Numbers of objects in pictures."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_formats.label_numbers import _FONTS, draw_numbers, scale_for_numbers
from numpy.lib.stride_tricks import sliding_window_view


def squares(rows: int, columns: int, side: int, gap: int = 0, first: int = 1) -> np.ndarray:
    """Square objects on a grid."""
    numbers = np.arange(first, first + rows * columns).reshape(rows, columns)
    square = np.pad(np.ones((side, side), int), ((0, gap), (0, gap)))
    return np.kron(numbers, square).astype(np.uint16)


def drawn(labels: np.ndarray) -> np.ndarray:
    """A grey picture with numbers: 128 where nothing was drawn."""
    picture = np.full((*labels.shape, 3), 128, np.uint8)
    draw_numbers(picture, labels)
    assert (picture == picture[..., :1]).all(), "numbers are black and white"
    return picture[..., 0]


def found(picture: np.ndarray, labels: np.ndarray, label: int) -> tuple[int, int, int] | None:
    """Centre (y, x) at which a picture shows the number of an object, and its height: white digits on black."""
    near = np.argwhere(labels == label)
    (top, left), (bottom, right) = np.maximum(near.min(axis=0) - 20, 0), near.max(axis=0) + 20
    white = picture[top:bottom, left:right] == 255
    for font in _FONTS:
        bitmap = font.bitmap(label)
        if all(at >= size for at, size in zip(white.shape, bitmap.shape, strict=True)):
            hits = np.argwhere((sliding_window_view(white, bitmap.shape) == bitmap).all(axis=(2, 3)))
            if len(hits):
                (y, x), (height, width) = hits[0].tolist(), bitmap.shape
                return top + y + height // 2, left + x + width // 2, height - 2
    return None


def test_digits_differ_from_one_another():
    for font in _FONTS:
        bitmaps = [font.bitmap(digit) for digit in range(10)]
        assert len({bitmap.tobytes() for bitmap in bitmaps}) == 10
        assert len({bitmap.shape for bitmap in bitmaps}) == 1
        height, width = font.shape(10)
        assert font.bitmap(1234567890).shape == (height + 2, width + 2)


@pytest.mark.parametrize(("side", "first", "height"), [(10, 1, 5), (14, 10, 7), (24, 98, 7), (30, 7, 14), (90, 1, 28)])
def test_each_object_bears_its_number(side, first, height):
    labels = squares(3, 4, side, first=first)
    picture = drawn(labels)
    for label in np.unique(labels).tolist():
        y, x, size = found(picture, labels, label)
        assert (labels[y, x], size) == (label, height)


def test_numbers_of_one_picture_have_one_size_and_smaller_ones_in_small_objects():
    labels = squares(2, 4, 24, gap=4)
    labels[labels == 3] = 0
    labels[8:14, 64:70] = 3
    labels = np.pad(labels, ((0, 120), (0, 0)))
    labels[60:170, 2:110] = 9
    picture = drawn(labels)
    heights = {label: found(picture, labels, label)[2] for label in (1, 2, 3, 4, 9)}
    assert heights == {1: 14, 2: 14, 3: 5, 4: 14, 9: 14}


def test_a_number_lies_on_its_object_although_the_centre_does_not():
    ring = np.hypot(*np.mgrid[-30:31, -30:31])
    labels = np.where((ring < 28) & (ring > 18), 5, 0).astype(np.uint16)
    labels = np.pad(labels, 10)
    y, x, _ = found(drawn(labels), labels, 5)
    assert labels[y, x] == 5


def test_numbers_give_way_to_those_of_small_objects():
    labels = np.zeros((60, 60), np.uint16)
    labels[5:55, 5:55] = 10
    labels[27:33, 27:33] = 20
    picture = drawn(labels)
    assert all(labels[found(picture, labels, label)[:2]] == label for label in (10, 20))


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (6, 6)])
def test_a_picture_smaller_than_a_number(shape):
    labels = np.full(shape, 60000, np.uint32)
    assert drawn(labels).shape == shape
    assert (drawn(labels * 0) == 128).all()


def test_numbers_at_the_border_are_whole():
    labels = np.zeros((30, 30), np.uint16)
    labels[:4, :4], labels[-4:, -4:] = 88, 99
    picture = drawn(labels)
    assert found(picture, labels, 88)
    assert found(picture, labels, 99)


@pytest.mark.parametrize(("side", "scale"), [(40, 1), (18, 1), (12, 2), (6, 3), (2, 4)])
def test_scale_that_gives_numbers_room(side, scale):
    labels = squares(4, 4, side, gap=2, first=100)
    assert scale_for_numbers(labels) == scale
    if scale < 4:
        large = labels.repeat(scale, axis=0).repeat(scale, axis=1)
        picture = drawn(large)
        assert all(found(picture, large, label) for label in range(100, 116))


def test_the_scale_is_bounded():
    assert scale_for_numbers(np.zeros((5, 5), np.uint16)) == 1
    labels = np.zeros((3600, 3600), np.uint8)
    labels[0, 0] = 1
    assert scale_for_numbers(labels) == 1, "50 million pixels are 3.8 times as many"
