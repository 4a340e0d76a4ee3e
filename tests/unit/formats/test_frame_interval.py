"""Frame intervals that files state: seconds, or nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from cellserve_formats import PixelSize, read_image
from cellserve_formats.labels_tiff import labels_tiff_bytes

from .samples import GREY, tiff

SERIES = np.stack([GREY] * 3)


def imagej(**facts: object) -> float | None:
    return read_image(tiff(SERIES, imagej=True, metadata={"axes": "TYX", **facts})).frame_interval_s


def ome(**facts: object) -> float | None:
    return read_image(tiff(SERIES, ome=True, metadata={"axes": "TYX", **facts})).frame_interval_s


@pytest.mark.parametrize(("unit", "seconds"), [("sec", 2.5), ("s", 2.5), ("ms", 0.0025), ("min", 150), ("h", 9000)])
def test_units(unit, seconds):
    assert imagej(finterval=2.5, tunit=unit) == pytest.approx(seconds)
    if unit != "sec":
        assert ome(TimeIncrement=2.5, TimeIncrementUnit=unit) == pytest.approx(seconds)


def test_without_a_unit_both_mean_seconds():
    assert imagej(finterval=0.5) == ome(TimeIncrement=0.5) == 0.5


@pytest.mark.parametrize("interval", [0, -1, "nan", "inf", "soon"])
def test_what_is_no_interval(interval):
    assert imagej(finterval=interval) is None
    assert ome(TimeIncrement=interval) is None
    assert imagej(finterval=1, tunit="frames") is None
    assert imagej() is None
    assert ome() is None


def test_a_stack_has_none():
    data = tiff(SERIES, imagej=True, metadata={"axes": "ZYX", "finterval": 2.0})
    assert read_image(data).frame_interval_s is None


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_labels_keep_it(axes):
    labels = np.random.default_rng(0).integers(0, 70_000, (3, 2, 4, 5)[: len(axes)], np.uint32)
    data = labels_tiff_bytes(labels, PixelSize(0.5, 0.25, 2.0), axes, 12.5)
    image = read_image(data)
    assert (image.axes, image.frame_interval_s, image.pixel_size) == (axes, 12.5, PixelSize(0.5, 0.25, 2.0))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        facts = file.imagej_metadata
        assert (facts["finterval"], facts["frames"], facts["hyperstack"]) == (12.5, 3, True)
    assert b"finterval" not in labels_tiff_bytes(labels[0], None, axes[1:], 12.5)
