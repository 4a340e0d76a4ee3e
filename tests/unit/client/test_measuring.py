"""Measurements of results: the table with more columns."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from cellserve import Client, Image, PixelSize
from cellserve.testing import FakeServer
from cellserve_contract.objects import columns, intensity_columns, shape_columns
from cellserve_measurements import measure

LABELS = np.zeros((40, 50), np.uint16)
LABELS[0:10, 5:25], LABELS[20:34, 30:38] = 1, 2
PIXELS = np.add.outer(np.arange(40), 10 * np.arange(50)).astype(np.uint16)
BASE = [column.name for column in columns()]


@pytest.fixture
def fake_client():
    with FakeServer(LABELS) as server, Client(server.address) as client:
        yield client


@pytest.fixture
def result(fake_client):
    return fake_client.segment(PIXELS)


def names(found):
    return [column.name for column in found]


def test_the_table_has_the_measurements(result):
    measured = result.measure()
    expected = measure(LABELS, PIXELS)
    assert expected.pop("label").tolist() == [1, 2]
    assert measured.measurements.keys() == expected.keys()
    assert list(measured.table) == [*BASE, *names(shape_columns()), *names(intensity_columns(1))]
    for name, values in expected.items():
        np.testing.assert_array_equal(measured.table[name], values)
        assert measured.table[name].dtype == values.dtype
    for name in BASE:
        np.testing.assert_array_equal(measured.table[name], result.table[name])
    np.testing.assert_allclose(measured.table["intensity_mean-0"], [4.5 + 145, 26.5 + 335])
    assert measured.table["touches_border"].tolist() == [1, 0]
    assert list(result.table) == BASE, "a copy is measured"


def test_rows_have_plain_numbers_in_the_order_of_the_columns(result):
    measured = result.measure()
    rows = list(measured.rows())
    assert [list(row) for row in rows] == [names(measured.columns())] * 2
    kinds = {column.name: {"int": int, "float": float}[column.kind] for column in measured.columns()}
    assert [{name: type(value) for name, value in row.items()} for row in rows] == [kinds] * 2
    assert [row["touches_border"] for row in rows] == [1, 0]
    assert list(result.rows()) == [entry.row() for entry in result.objects]


def test_columns_have_units_and_meanings(fake_client):
    measured = fake_client.segment(Image(PIXELS, "YX", PixelSize(0.5, 0.5))).measure()
    assert measured.columns() == (*columns(), *shape_columns("YX", (0.5, 0.5)), *intensity_columns(1))
    np.testing.assert_array_equal(measured.table["area_um2"], measured.table["area"] / 4)


def test_groups_are_added_one_after_the_other(result):
    shape = result.measure(groups=["shape"])
    both = shape.measure(groups=["intensity"])
    assert list(shape.table) == [*BASE, *names(shape_columns())]
    assert list(both.table) == list(result.measure().table)
    other = both.measure(PIXELS * 2, groups=["intensity"])
    np.testing.assert_array_equal(other.table["intensity_max-0"], 2 * both.table["intensity_max-0"])


def test_the_image_is_that_of_the_result_or_the_callers(fake_client, tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, PIXELS)
    expected = measure(LABELS, PIXELS)["intensity_sum-0"]
    for given in (PIXELS, Image(PIXELS, "YX"), path):
        np.testing.assert_array_equal(fake_client.segment(given).measure().table["intensity_sum-0"], expected)
    ((_, result),) = fake_client.segment_many([PIXELS])
    with pytest.raises(ValueError, match="does not hold its image: pass the image"):
        result.measure()
    for given in (PIXELS, path):
        np.testing.assert_array_equal(result.measure(given).table["intensity_sum-0"], expected)
    assert list(result.measure(groups=["shape"]).table) == [*BASE, *names(shape_columns())], "needs no image"


def test_all_channels_are_measured(fake_client):
    colours = np.stack([PIXELS, PIXELS // 2, PIXELS // 3], axis=-1).astype(np.uint8)
    for image, axes in ((colours, "YXS"), (np.moveaxis(colours, -1, 0).copy(), "CYX")):
        table = fake_client.segment(image, axes=axes).measure().table
        for channel in range(3):
            expected = measure(LABELS, colours[..., channel], ["intensity"])
            np.testing.assert_array_equal(table[f"intensity_median-{channel}"], expected["intensity_median-0"])


@pytest.mark.parametrize("mode", ["volume", "planes"])
def test_stacks(mode):
    labels = np.stack([LABELS, np.zeros_like(LABELS), np.where(LABELS, LABELS + 2, 0)]).astype(np.uint16)
    pixels = np.stack([PIXELS, PIXELS + 1, PIXELS + 2])
    size = PixelSize(0.5, 0.5, 3.0)
    stack = Image(np.stack([pixels, pixels * 2], axis=1), "ZCYX", size)
    with FakeServer(lambda image: LABELS) as server, Client(server.address) as client:
        flat = client.segment(PIXELS)
    objects = tuple(
        dataclasses.replace(flat.objects[0], label=label, bbox=(0,) * 6, centroid=(0.0,) * 3) for label in (1, 2, 3, 4)
    )
    params = dataclasses.replace(flat.params, stack_mode=mode)
    result = dataclasses.replace(
        flat, label_image=labels, objects=objects, axes="ZYX", params=params, pixel_size=size
    ).measure(stack)
    planes = mode == "planes"
    assert result.columns() == (
        *columns("ZYX"),
        *shape_columns("ZYX", (3.0, 0.5, 0.5), planes=planes),
        *intensity_columns(2),
    )
    expected = measure(labels, np.moveaxis(stack.pixels, 1, 0), pixel_size=size, axes="ZYX", planes=planes)
    for name, values in result.measurements.items():
        np.testing.assert_array_equal(values, expected[name])
    np.testing.assert_allclose(result.table["intensity_mean-1"], [299, 723, 303, 727])


def test_a_result_without_objects():
    with FakeServer(np.zeros((9, 9), int)) as server, Client(server.address) as client:
        measured = client.segment(np.zeros((9, 9), np.uint8)).measure()
    assert {name: (len(values), values.dtype.kind) for name, values in measured.table.items()} == {
        column.name: (0, {"int": "i", "float": "f"}[column.kind]) for column in measured.columns()
    }
    assert list(measured.rows()) == []


def test_what_cannot_be_measured(fake_client, result):
    with pytest.raises(ValueError, match="the image has 20 x 50 pixels, the label image 40 x 50"):
        result.measure(PIXELS[:20])
    with pytest.raises(ValueError, match="unknown groups of measurements: colour"):
        result.measure(groups=["colour"])
    with pytest.raises(ValueError, match="omit_labels"):
        fake_client.segment(PIXELS, omit_labels=True).measure()
    result.labels[result.labels == 1] = 0
    with pytest.raises(ValueError, match="no longer has the objects of the table: measure the result before"):
        result.measure()


def test_columns_of_the_caller(result):
    mine = dataclasses.replace(result, measurements={"ratio": np.array([0.5, 2]), "well": [3, 4]})
    assert [(column.name, column.kind, column.unit) for column in mine.columns()[-2:]] == [
        ("ratio", "float", ""),
        ("well", "int", ""),
    ]
    assert [(row["ratio"], row["well"]) for row in mine.rows()] == [(0.5, 3), (2.0, 4)]
    assert mine.table["well"].tolist() == [3, 4]
    assert list(mine.measure(groups=["shape"]).measurements)[:2] == ["ratio", "well"]
    short = dataclasses.replace(result, measurements={"ratio": np.array([0.5])})
    with pytest.raises(ValueError, match=r"the measurement ratio has the shape \(1,\), but the result has 2 objects"):
        list(short.rows())


def test_dataframe_and_pickle(result):
    pandas = pytest.importorskip("pandas")
    measured = result.measure()
    frame = measured.to_dataframe()
    assert list(frame) == names(measured.columns())
    np.testing.assert_array_equal(frame["solidity"], [1, 1])
    pandas.testing.assert_frame_equal(pickle.loads(pickle.dumps(measured)).to_dataframe(), frame)


def test_the_client_imports_no_library_of_measurements():
    program = (
        "import sys, cellserve; assert not {'scipy', 'skimage'} & {name.partition('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
