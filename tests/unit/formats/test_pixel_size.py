"""Pixel sizes that files state: micrometres, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_formats import PixelSize, read_image
from cellserve_formats.labels_tiff import labels_tiff_bytes
from hypothesis import given
from hypothesis import strategies as st

from .samples import GREY, tiff


def ome(**sizes: object) -> PixelSize | None:
    return read_image(tiff(GREY, ome=True, metadata={"axes": "YX", **sizes})).pixel_size


@pytest.mark.parametrize(
    ("unit", "micrometres"), [("µm", 1), ("nm", 1e-3), ("mm", 1e3), ("m", 1e6), ("cm", 1e4), ("pm", 1e-6), ("Å", 1e-4)]
)
def test_units_of_ome(unit, micrometres):
    y, x = 0.65 / micrometres, 0.325 / micrometres
    size = ome(PhysicalSizeY=y, PhysicalSizeYUnit=unit, PhysicalSizeX=x, PhysicalSizeXUnit=unit)
    assert size is not None
    assert (size.y, size.x) == pytest.approx((0.65, 0.325))


def test_ome_without_a_unit_is_micrometres_as_its_schema_says():
    assert ome(PhysicalSizeX=0.5, PhysicalSizeY=0.25) == (0.25, 0.5, None)


def test_z_of_ome():
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2000, "PhysicalSizeZUnit": "nm"}
    stack = tiff(np.stack([GREY] * 3), ome=True, metadata={"axes": "ZYX", **sizes})
    assert read_image(stack).pixel_size == PixelSize(0.5, 0.5, 2.0)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"PhysicalSizeX": 0.5},
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0},
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": -0.5},
        {"PhysicalSizeX": "nan", "PhysicalSizeY": "nan"},
        {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"},
        {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "m", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "m"},
    ],
)
def test_implausible_sizes_of_ome(sizes):
    assert ome(**sizes) is None


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m", "microns"])
def test_imagej(unit):
    data = tiff(
        np.stack([GREY] * 3), imagej=True, resolution=(4, 2), metadata={"axes": "ZYX", "unit": unit, "spacing": 1.5}
    )
    assert read_image(data).pixel_size == PixelSize(0.5, 0.25, 1.5)


@pytest.mark.parametrize("metadata", [{}, {"unit": "pixel"}, {"unit": "inch"}, {"unit": "parsec"}])
def test_imagej_without_a_unit_of_length(metadata):
    assert read_image(tiff(GREY, imagej=True, resolution=(72, 72), metadata=metadata)).pixel_size is None


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((40000, 20000), "CENTIMETER", (0.5, 0.25, None)),
        ((101600, 101600), "INCH", (0.25, 0.25, None)),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((28.35, 28.35), "CENTIMETER", None),
        ((40000, 40000), "NONE", None),
        ((0, 0), "CENTIMETER", None),
    ],
)
def test_resolution_tags(resolution, unit, expected):
    assert read_image(tiff(GREY, resolution=resolution, resolutionunit=unit)).pixel_size == expected


@given(st.floats(0.01, 15), st.floats(0.01, 15))
def test_labels_keep_the_size_of_their_image(y, x):
    labels = np.zeros((3, 4), np.uint16)
    size = read_image(labels_tiff_bytes(labels, PixelSize(y, x))).pixel_size
    assert size is not None
    assert (size.y, size.x) == pytest.approx((y, x), rel=1e-5)
    assert size.z is None
    assert read_image(labels_tiff_bytes(labels)).pixel_size is None


@pytest.mark.parametrize(
    ("size", "anisotropy"),
    [
        (PixelSize(0.5, 0.5, 2.0), 4),
        (PixelSize(0.4, 0.6, 1.0), 2),
        (PixelSize(1, 1, 0.5), 0.5),
        (PixelSize(0.5, 0.5), None),
    ],
)
def test_anisotropy(size, anisotropy):
    assert size.anisotropy == (anisotropy and pytest.approx(anisotropy))


@pytest.mark.parametrize("z", [{}, {"PhysicalSizeZ": 0}, {"PhysicalSizeZ": 2, "PhysicalSizeZUnit": "pixel"}])
def test_anisotropy_that_a_file_does_not_state(z):
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, **z}
    size = read_image(tiff(np.stack([GREY] * 3), ome=True, metadata={"axes": "ZYX", **sizes})).pixel_size
    assert size == PixelSize(0.5, 0.5)
    assert size.anisotropy is None
