"""Pictures of objects."""

from __future__ import annotations

import time

import numpy as np
import pytest
from cellserve_formats import Image, PixelSize, read_image
from cellserve_formats.overlay import colour_numbers, draw_overlay, outlines, overlay_bytes, render


def tissue(rows: int, columns: int, size: int) -> np.ndarray:
    """Cells that touch on all sides, like bricks."""
    y, x = np.mgrid[: rows * size, : columns * size]
    x = (x + (y // size % 2) * size // 2) // size
    return (y // size * (columns + 1) + x + 1).astype(np.uint16)


def test_outlines_are_the_borders_of_objects():
    labels = np.zeros((9, 9), np.uint16)
    labels[2:7, 2:7] = 5
    expected = labels > 0
    expected[3:6, 3:6] = False
    np.testing.assert_array_equal(outlines(labels), expected)
    expected = labels > 0
    expected[4, 4] = False
    np.testing.assert_array_equal(outlines(labels, 2), expected)


def test_touching_objects_have_a_line_each():
    labels = np.ones((6, 8), np.uint8)
    labels[:, 4:] = 2
    np.testing.assert_array_equal(np.flatnonzero(outlines(labels)[0]), [3, 4])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (20, 20)])
@pytest.mark.parametrize("value", [0, 1])
def test_degenerate_images(shape, value):
    picture = draw_overlay(Image(np.full(shape, 7, np.uint16), "YX"), np.full(shape, value, np.uint16))
    assert picture.shape == (*shape, 3)
    assert picture.dtype == np.uint8


def test_neighbours_differ_in_colour():
    labels = tissue(20, 20, 12)
    numbers = colour_numbers(labels, 5)
    for here, there in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        a, b = labels[here], labels[there]
        assert (numbers[a[a != b]] != numbers[b[a != b]]).all()
    assert set(numbers[1:]) == set(range(5))


def test_only_lines_are_painted():
    labels = np.zeros((40, 40), np.uint16)
    labels[5:30, 8:33] = 1
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 40), np.uint16)
    image = Image(pixels, "YX")
    picture, plain = draw_overlay(image, labels), render(image)
    changed = (picture != plain).any(axis=2)
    np.testing.assert_array_equal(changed, outlines(labels))
    assert len(np.unique(picture[changed], axis=0)) == 1


def test_lines_are_thicker_on_large_images():
    for side, width in ((1500, 1), (1501, 2)):
        labels = np.zeros((20, side), np.uint16)
        labels[4:16, 10:30] = 1
        picture = draw_overlay(Image(np.zeros((20, side), np.uint8), "YX"), labels)
        assert np.count_nonzero(picture[10, :20].any(axis=1)) == width


@pytest.mark.parametrize(
    "ground", [(0, 0, 0), (128, 128, 128), (235, 215, 240), (90, 40, 160), (255, 255, 255), (255, 70, 70)]
)
def test_lines_are_seen_on_any_ground(ground):
    labels = tissue(6, 6, 16)
    pixels = np.tile(np.array(ground, np.uint8), (*labels.shape, 1))
    pixels[:2], pixels[-2:] = 0, 255  # the stretch of intensities keeps the ground's own colour
    picture = draw_overlay(Image(pixels, "YXS"), labels)
    lines = outlines(labels)
    lines[:3], lines[-3:] = False, False
    painted = picture[lines].astype(float)
    assert np.linalg.norm(painted - np.median(render(Image(pixels, "YXS")), axis=(0, 1)), axis=1).min() > 100


def test_stretch_between_percentiles():
    pixels = np.linspace(0, 1000, 10_001, dtype=np.float32).reshape(73, 137)
    pixels[0, 0], pixels[-1, -1] = -1e6, 1e6
    grey = render(Image(pixels, "YX"))
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    assert (grey.min(), grey.max()) == (0, 255)
    assert 120 < np.median(grey) < 135
    assert np.count_nonzero(grey[..., 0] == 255) == pytest.approx(0.012 * grey[..., 0].size, rel=0.3)


def test_colour_images_keep_their_colours():
    pixels = np.zeros((50, 50, 3), np.uint8)
    pixels[:25] = (200, 100, 0)
    picture = render(Image(pixels, "YXS"))
    np.testing.assert_array_equal(picture[0, 0], [255, 128, 0])
    np.testing.assert_array_equal(render(Image(np.moveaxis(pixels, 2, 0), "CYX")), picture)


def test_two_planes_are_grey_cells_with_blue_nuclei():
    cells, nuclei = np.zeros((50, 50)), np.zeros((50, 50))
    cells[10:40, 10:40] = 1
    nuclei[20:30, 20:30] = 1
    picture = render(Image(np.stack([nuclei, cells]), "CYX"), cytoplasm=1, nucleus=0).astype(int)
    assert picture[0, 0].max() == 0
    assert len(set(picture[12, 12])) == 1
    red, green, blue = picture[25, 25]
    assert red < green < blue


def test_filled_objects_let_the_image_through():
    labels = np.zeros((30, 40), np.uint16)
    labels[4:26, 6:18], labels[4:26, 22:34] = 1, 2
    pixels = np.random.default_rng(0).integers(0, 4000, labels.shape, np.uint16)
    image = Image(pixels, "YX")
    plain, lines, filled = render(image), draw_overlay(image, labels), draw_overlay(image, labels, filled=True)
    border, inside = outlines(labels), (labels > 0) & ~outlines(labels)
    np.testing.assert_array_equal(filled[labels == 0], plain[labels == 0])
    np.testing.assert_array_equal(filled[border], lines[border])
    for label in (1, 2):
        here = inside & (labels == label)
        colour = lines[border & (labels == label)][0]
        assert np.corrcoef(filled[here][:, 0], plain[here][:, 0])[0, 1] > 0.99
        tint = filled[here].mean(axis=0) - plain[here].mean(axis=0)
        np.testing.assert_allclose(tint, 0.4 * (colour - plain[here].mean(axis=0)), atol=1)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_larger_picture_shows_the_same(scale):
    labels = tissue(3, 3, 10)
    image = Image(labels, "YX", PixelSize(0.6, 0.3, 2.0))
    large = read_image(overlay_bytes(image, labels, scale=scale))
    assert large.pixels.shape == (30 * scale, labels.shape[1] * scale, 3)
    assert large.pixel_size == PixelSize(pytest.approx(0.6 / scale, rel=1e-3), pytest.approx(0.3 / scale, rel=1e-3))
    objects = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    changed = (large.pixels != render(image).repeat(scale, axis=0).repeat(scale, axis=1)).any(axis=2)
    np.testing.assert_array_equal(changed, outlines(objects), "lines stay thin")


@pytest.mark.parametrize(("rows", "numbers"), [(60, False), (30, True)])
def test_cost_of_many_objects(rows, numbers):
    labels = tissue(rows, 60, 16)
    start = time.perf_counter()
    draw_overlay(Image(labels, "YX"), labels, numbers=numbers)
    assert time.perf_counter() - start < 5
