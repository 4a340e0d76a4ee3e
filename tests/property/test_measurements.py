"""Measurements against scikit-image's, their plain twin."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from cellserve_formats import PixelSize
from cellserve_measurements import measure
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

regionprops_table = pytest.importorskip("skimage.measure").regionprops_table

PIXEL_TYPES = st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64])
IN_PLANE = ("eccentricity", "perimeter")
SHAPE = ("axis_major_length", "axis_minor_length", "solidity")
INTENSITY = ("intensity_mean", "intensity_max", "intensity_median")
STEPS = st.floats(0.05, 20)


@st.composite
def label_images(draw, dimensions, side):
    """Objects of any form: noise of a few labels, boxes over each other, or both; pieces may lie apart."""
    shape = draw(hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=side))
    labels = np.zeros(shape, np.uint16)
    if draw(st.booleans()):
        labels = draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 0, 1, 2, 7, 40_000])))
    for number in draw(st.lists(st.integers(0, 9), max_size=6)):
        labels[tuple(slice(*sorted(draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape)] = number
    return labels


def twin(labels, pixels=None, properties=(), spacing=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hulls of flat objects
        with np.errstate(divide="ignore"):
            return regionprops_table(labels, pixels, properties=properties, spacing=spacing)


def check(found, expected, suffix=""):
    """Shortest axes and eccentricities are roots of small differences: half of the digits are rounding."""
    length = np.max(expected.get("axis_major_length", 0), initial=0)
    rounding = {"axis_major_length": length, "axis_minor_length": length, "eccentricity": 1}
    for name, values in expected.items():
        close = {"rtol": 1e-9, "atol": 1e-6 * rounding.get(name, 1e-6)}
        np.testing.assert_allclose(found[name + suffix], values, **close, err_msg=name)


def check_angles(found, expected):
    """Objects as long as they are wide have no angle, and -pi/2 is pi/2."""
    long = found["eccentricity"] > 1e-2
    difference = (found["orientation"] - expected["orientation"])[long]
    np.testing.assert_allclose(np.sin(difference), 0, atol=1e-6)


@given(label_images(2, 24))
def test_objects_in_a_plane(labels):
    found = measure(labels, groups=["shape"])
    check(found, twin(labels, properties=("label", *SHAPE, *IN_PLANE)))
    check_angles(found, twin(labels, properties=["orientation"]))


@given(label_images(2, 24), STEPS, STEPS, st.booleans())
def test_objects_in_a_plane_in_micrometres(labels, y, x, square):
    size = PixelSize(y, y if square else x)
    found = measure(labels, groups=["shape"], pixel_size=size)
    lengths = ["axis_major_length", "axis_minor_length", "equivalent_diameter_area"]
    expected = twin(labels, properties=[*lengths, "centroid", *["perimeter"] * square], spacing=size[:2])
    check(found, expected, "_um")
    np.testing.assert_allclose(found["area_um2"], twin(labels, properties=["area"], spacing=size[:2])["area"])
    check(found, twin(labels, properties=["eccentricity", "solidity"], spacing=size[:2]))
    check_angles(found, twin(labels, properties=["orientation"], spacing=size[:2]))


@given(label_images(3, 8), st.none() | st.tuples(STEPS, STEPS, STEPS))
def test_objects_in_volumes(labels, spacing):
    size = spacing and PixelSize(spacing[1], spacing[2], spacing[0])
    found = measure(labels, groups=["shape"], pixel_size=size, axes="ZYX")
    expected = twin(labels, properties=("label", *SHAPE))
    solid = np.isfinite(expected["solidity"])  # infinite for flat objects: scikit-image has no hull for them
    expected["solidity"] = np.where(solid, expected["solidity"], found["solidity"])
    check(found, expected)
    assert (found["solidity"] <= 1).all()
    if spacing:
        lengths = ["axis_major_length", "axis_minor_length", "equivalent_diameter_area", "centroid"]
        check(found, twin(labels, properties=lengths, spacing=spacing), "_um")
        volumes = twin(labels, properties=["area"], spacing=spacing)["area"]
        np.testing.assert_allclose(found["area_um3"], volumes)


@given(st.data(), st.sampled_from([2, 3]), PIXEL_TYPES, st.sampled_from([None, 1, 2]))
def test_intensities(data, dimensions, dtype, channels):
    labels = data.draw(label_images(dimensions, 12 if dimensions == 2 else 6))
    shape = labels.shape if channels is None else (channels, *labels.shape)
    bounds = {"allow_nan": False, "min_value": -1e6, "max_value": 1e6} if np.dtype(dtype).kind == "f" else {}
    pixels = data.draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(np.dtype(dtype), **bounds)))
    found = measure(labels, pixels, ["intensity"], axes="ZYX"[-dimensions:])
    for channel, plane in enumerate(pixels[np.newaxis] if channels is None else pixels):
        for name, values in twin(labels, plane.astype(np.float64), INTENSITY).items():
            np.testing.assert_allclose(found[f"{name}-{channel}"], values, rtol=1e-9, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            found[f"intensity_sum-{channel}"],
            [plane[labels == label].sum(dtype=np.float64) for label in found["label"]],
            rtol=1e-9,
            atol=1e-6,
        )
