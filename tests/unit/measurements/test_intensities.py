"""Intensities of objects, by their plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_measurements import measure

INTENSITY = ["intensity"]
LABELS = np.zeros((30, 40), np.uint16)
LABELS[2:9, 3:12], LABELS[15:28, 20:40], LABELS[29, 0], LABELS[5, 30:34] = 1, 2, 5, 9
NUMBERS = [1, 2, 5, 9]
TYPES = "?bhiqBHILefd"


def image_of(dtype, shape=LABELS.shape):
    """Pixels all over the range of a type."""
    random = np.random.default_rng(3)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (random.standard_normal(shape) * 1e3).astype(dtype)
    if dtype.kind == "b":
        return random.random(shape) > 0.5
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def test_a_ramp():
    ramp = np.add.outer(100 * np.arange(30), np.arange(40)).astype(np.uint16)
    found = measure(LABELS, ramp, INTENSITY)
    assert found["label"].tolist() == NUMBERS
    # The mean of a rectangle of the ramp is the value at its middle, and so is the median.
    middles = [100 * 5 + 7, 100 * 21 + 29.5, 2900, 500 + 31.5]
    np.testing.assert_allclose(found["intensity_mean-0"], middles, rtol=1e-12)
    np.testing.assert_allclose(found["intensity_median-0"], middles, rtol=1e-12)
    assert found["intensity_max-0"].tolist() == [811, 2739, 2900, 533]
    np.testing.assert_allclose(found["intensity_sum-0"], np.multiply(middles, [63, 260, 1, 4]), rtol=1e-12)
    assert {values.dtype.name for name, values in found.items() if name != "label"} == {"float64"}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_of_any_type(dtype, order):
    image = image_of(dtype)
    found = measure(LABELS, image.astype(image.dtype.newbyteorder(order)), INTENSITY)
    for n, label in enumerate(NUMBERS):
        pixels = image[label == LABELS].astype(np.float64)
        for name, function in {"mean": np.mean, "median": np.median, "max": np.max, "sum": np.sum}.items():
            np.testing.assert_allclose(found[f"intensity_{name}-0"][n], function(pixels), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_channels_are_measured_one_by_one(dtype):
    image = image_of(dtype, (3, *LABELS.shape))
    found = measure(LABELS, image, INTENSITY)
    assert len(found) == 1 + 3 * 4
    for channel, pixels in enumerate(image):
        alone = measure(LABELS, pixels, INTENSITY)
        for name in ("mean", "median", "max", "sum"):
            np.testing.assert_array_equal(found[f"intensity_{name}-{channel}"], alone[f"intensity_{name}-0"])
    view = np.moveaxis(np.ascontiguousarray(np.moveaxis(image, 0, -1)), -1, 0)  # as a colour image lies in memory
    for name, values in measure(LABELS, view, INTENSITY).items():
        np.testing.assert_array_equal(values, found[name])


def test_a_volume():
    labels = np.stack([LABELS, np.roll(LABELS, 3, axis=1)])
    image = image_of(np.uint16, (2, *labels.shape))
    found = measure(labels, image, INTENSITY, axes="ZYX")
    for channel in range(2):
        values = [image[channel][labels == label] for label in NUMBERS]
        np.testing.assert_allclose(found[f"intensity_mean-{channel}"], [np.mean(part) for part in values])
        np.testing.assert_array_equal(found[f"intensity_median-{channel}"], [np.median(part) for part in values])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_no_numbers(dtype):
    image = np.ones(LABELS.shape, dtype)
    image[4, 5], image[16, 21], image[17, 21], image[5, 30] = np.nan, np.inf, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        found = measure(LABELS, image, INTENSITY)
    np.testing.assert_array_equal(found["intensity_max-0"], [np.nan, np.inf, 1, 1])
    np.testing.assert_array_equal(found["intensity_median-0"], [np.nan, 1, 1, 1])
    np.testing.assert_array_equal(found["intensity_sum-0"], [np.nan, np.nan, 1, -np.inf])
