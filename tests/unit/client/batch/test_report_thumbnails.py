"""Thumbnails: size, orientation, and objects that stay visible."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from cellserve.batch.report import thumbnail
from cellserve_formats import Image, ImageError, read_image

NAMES = ["cells_phase_contrast", "nuclei_fluorescence", "nuclei_histology"]


def picture_of(*arguments, **keywords):
    data = thumbnail(*arguments, **keywords)
    assert data.startswith(b"\xff\xd8\xff")
    return imagecodecs.jpeg8_decode(data).astype(int)


def lines_of(image, labels):
    """Pixels of the thumbnail that look different without the objects."""
    return np.abs(picture_of(image, labels) - picture_of(image, np.zeros_like(labels))).max(axis=2) > 60


@pytest.mark.parametrize(
    ("shape", "small"),
    [((512, 512), (256, 256)), ((520, 696), (191, 256)), ((40, 2000), (5, 256)), ((1, 3000), (1, 256))],
)
def test_the_longer_side_has_256_pixels(shape, small):
    pixels = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    assert picture_of(Image(pixels, "YX"), np.zeros(shape, np.uint32)).shape == (*small, 3)


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (256, 256)])
def test_smaller_images_keep_their_size(shape):
    assert picture_of(Image(np.ones(shape, np.uint8), "YX"), np.ones(shape, np.uint8)).shape == (*shape, 3)


@pytest.mark.parametrize("name", NAMES)
def test_real_images_take_a_few_kilobytes(name, request):
    root = request.config.rootpath
    image = read_image(root / "examples" / "images" / f"{name}.png")
    labels = imagecodecs.imread(root / "tests" / "data" / f"{name}_masks.png")
    data = thumbnail(image, labels)
    assert 2_000 < len(data) < 20_000
    assert 0.03 < lines_of(image, labels).mean() < 0.3


def test_a_noisy_crowded_image_stays_below_64_kilobytes():
    draw = np.random.default_rng(0)
    labels = np.arange(1, 64 * 64 + 1, dtype=np.uint32).reshape(64, 64).repeat(16, 0).repeat(16, 1)
    assert len(thumbnail(Image(draw.integers(0, 255, labels.shape).astype(np.uint8), "YX"), labels)) < 64_000


def test_outlines_lie_where_the_object_is():
    labels = np.zeros((1024, 512), np.uint16)
    labels[100:300, 200:400] = 1
    rows, columns = np.nonzero(lines_of(Image(np.zeros(labels.shape, np.uint8), "YX"), labels))
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx([25, 74, 50, 99], abs=1)
    assert not ((rows > 35) & (rows < 65) & (columns > 60) & (columns < 90)).any(), "the inside stays as it is"


def test_objects_smaller_than_a_pixel_of_the_picture_are_dots():
    labels = np.zeros((2048, 2048), np.uint32)
    places = [(y, x) for y in range(100, 2000, 240) for x in range(101, 2000, 240)]
    for number, (y, x) in enumerate(places, 1):
        labels[y, x] = number  # one pixel each; the picture shows one pixel of 64
    seen = lines_of(Image(np.zeros(labels.shape, np.uint8), "YX"), labels)
    near = [seen[y // 8 - 1 : y // 8 + 2, x // 8 - 1 : x // 8 + 2].any() for y, x in places]
    assert all(near)


def test_intensities_are_means():
    pixels = np.zeros((1024, 1024), np.uint16)
    pixels[::2, ::2] = 4000  # samples would see only the bright pixels, or none of them
    pixels[:512] *= 2
    picture = picture_of(Image(pixels, "YX"), np.zeros(pixels.shape, np.uint8))
    assert np.abs(picture[8:120] - 255).max() < 12
    assert picture[136:].max() < 12


def test_a_stack_shows_its_middle_plane():
    pixels = np.zeros((5, 60, 80), np.uint8)
    labels = np.zeros(pixels.shape, np.uint16)
    pixels[2, :, 40:] = 200
    labels[2, 10:50, 5:35] = 7
    labels[0, :, 45:75] = 1
    image = Image(pixels, "ZYX")
    assert picture_of(image, labels)[:, 60:].min() > 240
    lines = lines_of(image, labels)
    assert lines[:, :40].any()
    assert not lines[:, 45:].any()


def test_chosen_channels():
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[1, :32] = 100
    pixels[2, :, :32] = 50
    none = np.zeros((64, 64), np.uint8)
    cells = picture_of(Image(pixels, "CYX"), none, 1)
    assert cells[4:28].min() > 240
    assert cells[36:].max() < 15
    both = picture_of(Image(pixels, "CYX"), none, 1, 2)
    assert both[48, 16, 2] > both[48, 16, 0] + 50, "nuclei are blue"
    assert np.array_equal(picture_of(Image(pixels, "CYX"), none, 1, 1), cells)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.uint32, np.float32, np.float64])
def test_types_of_pixels(dtype):
    pixels = np.zeros((300, 300), dtype)
    pixels[:150] = 1
    picture = picture_of(Image(pixels, "YX"), np.zeros(pixels.shape, np.uint8))
    assert picture[8:120].min() > 240
    assert picture[136:].max() < 15


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        thumbnail(Image(np.zeros((20, 20), np.uint8), "YX"), np.zeros((20, 21), np.uint8))


def test_time_series_are_refused():
    with pytest.raises(ImageError, match="time series"):
        thumbnail(Image(np.zeros((2, 20, 20), np.uint8), "TYX"), np.zeros((20, 20), np.uint8))
