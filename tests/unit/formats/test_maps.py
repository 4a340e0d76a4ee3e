"""Flows and cell probability as files and pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from cellserve_formats import PixelSize, read_image
from cellserve_formats.cell_probability import (
    cell_probability_png_bytes,
    cell_probability_tiff_bytes,
    draw_cell_probability,
    write_cell_probability_png,
    write_cell_probability_tiff,
)
from cellserve_formats.flows import (
    draw_flows,
    flows_png_bytes,
    flows_tiff_bytes,
    write_flows_png,
    write_flows_tiff,
)

UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)


def colour(flow) -> tuple[int, ...]:
    return tuple(draw_flows(np.array(flow, np.float32).reshape(2, 1, 1))[0, 0].tolist())


def test_the_hue_is_the_direction():
    """The colours of Cellpose: red up, a third of the circle to green, which is at the lower right."""
    assert colour(UP) == (255, 64, 64)
    assert colour(DOWN) == (0, 191, 191)
    assert colour((0.5, np.sqrt(0.75))) == (64, 255, 64)
    assert colour((0.5, -np.sqrt(0.75))) == (64, 64, 255)
    np.testing.assert_allclose(colour(LEFT), (127.5, 17, 238), atol=1)
    np.testing.assert_allclose(colour(RIGHT), (127.5, 238, 17), atol=1)


def test_the_brightness_is_the_length():
    for flow in (UP, DOWN, LEFT, RIGHT):
        full = np.array(colour(flow))
        np.testing.assert_allclose(colour(np.array(flow) * 0.5), full / 2, atol=1)
        assert colour(np.array(flow) * 7) == tuple(full), "longer ones are no brighter"
    assert colour((0, 0)) == (0, 0, 0)


def test_probability_is_grey():
    logits = np.array([[-1e4, -np.log(3), 0, np.log(3), 1e4]], np.float32)
    np.testing.assert_array_equal(draw_cell_probability(logits), [[0, 64, 128, 191, 255]])
    np.testing.assert_array_equal(
        draw_cell_probability(logits.clip(-9, 9).astype(np.float16)), [[0, 64, 128, 191, 255]]
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("size", [PixelSize(0.5, 0.25), None])
def test_numbers_are_written_in_single_precision(dtype, size):
    flows = np.random.default_rng(0).normal(size=(2, 7, 9)).astype(dtype)
    for data, values, axes in (
        (flows_tiff_bytes(flows, size), flows, "CYX"),
        (cell_probability_tiff_bytes(flows[0], size), flows[0], "YX"),
    ):
        image = read_image(data)
        np.testing.assert_array_equal(image.pixels, values)
        assert (image.axes, image.pixels.dtype, image.pixel_size) == (axes, np.float32, size)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            assert {page.predictor for page in file.pages} == {tifffile.PREDICTOR.NONE}


def test_writers_write_what_they_return(tmp_path):
    flows, size = np.random.default_rng(0).normal(size=(2, 7, 9)).astype(np.float32), PixelSize(0.5, 0.25)
    for write, make, values in (
        (write_flows_png, flows_png_bytes, flows),
        (write_flows_tiff, flows_tiff_bytes, flows),
        (write_cell_probability_png, cell_probability_png_bytes, flows[0]),
        (write_cell_probability_tiff, cell_probability_tiff_bytes, flows[0]),
    ):
        write(tmp_path / "file", values, size)
        assert (tmp_path / "file").read_bytes() == make(values, size)
        assert read_image(make(values, size)).pixel_size == size
