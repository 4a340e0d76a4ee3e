"""What `measure` takes and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_contract.objects import intensity_columns, shape_columns
from cellserve_formats import PixelSize
from cellserve_measurements import measure

LABELS = np.zeros((20, 30), np.uint16)
LABELS[3:8, 4:11], LABELS[12:17, 10:25] = 1, 2
PIXELS = np.arange(600.0).reshape(20, 30)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "u4", "u8", "i1", "i8"])
def test_labels_of_any_type(dtype):
    expected = measure(LABELS, PIXELS)
    for labels in (LABELS.astype(dtype), np.asfortranarray(LABELS.astype(dtype)), LABELS.repeat(2, 1)[:, ::2]):
        found = measure(labels, PIXELS)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_labels_need_not_be_consecutive():
    high = np.where(LABELS == 1, 4_000_000_000, np.where(LABELS == 2, 17, 0)).astype(np.uint32)
    found, expected = measure(high, PIXELS), measure(LABELS, PIXELS)
    assert found["label"].tolist() == [17, 4_000_000_000]
    for name in expected.keys() - {"label"}:
        np.testing.assert_array_equal(found[name], expected[name][::-1])


@pytest.mark.parametrize(("axes", "shape"), [("YX", (4, 5)), ("YX", (0, 5)), ("ZYX", (2, 4, 5)), ("ZYX", (0, 4, 5))])
def test_an_image_without_objects(axes, shape):
    size = PixelSize(0.5, 0.5, 2.0)
    found = measure(np.zeros(shape, np.uint16), np.ones((2, *shape)), pixel_size=size, axes=axes)
    columns = [*shape_columns(axes, [1.0] * len(axes)), *intensity_columns(2)]
    assert list(found) == ["label", *(column.name for column in columns)]
    assert {len(values) for values in found.values()} == {0}
    kinds = {column.name: {"int": "i", "float": "f"}[column.kind] for column in columns}
    assert {name: values.dtype.kind for name, values in found.items()} == {"label": "i", **kinds}


def test_the_arrays_stay_as_they_are():
    labels, pixels = LABELS.copy(), PIXELS.copy()
    for array in (labels, pixels):
        array.flags.writeable = False
    measure(labels, pixels)
    np.testing.assert_array_equal(labels, LABELS)


def test_groups_are_measured_alone():
    assert list(measure(LABELS, groups=["shape"])) == ["label", *(column.name for column in shape_columns())]
    assert list(measure(LABELS, PIXELS, ["intensity"])) == ["label", *(column.name for column in intensity_columns(1))]
    assert list(measure(LABELS, groups=[])) == ["label"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"groups": ["colour", "shape"]},
            ValueError,
            "unknown groups of measurements: colour; known: shape, intensity",
        ),
        ({"groups": "shape"}, TypeError, r"groups is a list of words: groups=\['shape'\]"),
        ({"pixels": None}, ValueError, "the group intensity needs the pixels of the image"),
        ({"pixels": PIXELS[:5]}, ValueError, "the image has 5 x 30 pixels, the label image 20 x 30"),
        ({"pixels": np.zeros((2, 20, 31))}, ValueError, "the image has 20 x 31 pixels, the label image 20 x 30"),
        ({"pixels": PIXELS * 1j}, TypeError, "pixels of type complex128 are not real numbers"),
        ({"labels": PIXELS}, TypeError, "labels are whole numbers, not float64"),
        ({"labels": -LABELS.astype(int)}, ValueError, "this label image has negative ones"),
        ({"axes": "ZYX"}, ValueError, "a label image of axes ZYX has 3 axes, this one has 2"),
        ({"axes": "TYX"}, ValueError, "the axes TYX are unknown; known: YX and ZYX"),
    ],
)
def test_what_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        measure(**{"labels": LABELS, "pixels": PIXELS} | changes)
