"""Results are written whole or not at all, and read back as they were."""

from __future__ import annotations

import csv
import io
import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.objects import columns
from cellserve_formats import Image, ImageError, PixelSize, planes, read_image, replacing, tiff
from cellserve_formats.geojson import geojson_bytes
from cellserve_formats.labels_png import labels_png_bytes, write_labels_png
from cellserve_formats.labels_tiff import labels_tiff_bytes, write_labels_tiff
from cellserve_formats.overlay import draw_overlay, overlay_bytes, write_overlay
from cellserve_formats.png import png_bytes, write_png
from cellserve_formats.table_csv import table_csv_bytes, write_table_csv
from cellserve_formats.tiff import tiff_bytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NAMES = [column.name for column in columns()]
LABELS = hnp.arrays(st.sampled_from([np.uint16, np.uint32]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
ROW = {
    "label": 7,
    "bbox-0": 1,
    "bbox-1": 2,
    "bbox-2": 3,
    "bbox-3": 4,
    "centroid-0": 1.5,
    "centroid-1": 2.25,
    "area": 4,
    "equivalent_diameter_area": 2.2567583,
    "mean_probability": 0.875,
    "flow_error": 0.015625,
}


@given(LABELS)
def test_label_tiff(labels):
    data = labels_tiff_bytes(labels)
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, labels)
    assert image.pixels.dtype == labels.dtype
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.series[0].axes == "YX"
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert labels_tiff_bytes(labels) == data, "the same labels make the same file"


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("size", [PixelSize(0.5, 0.25, 2.0), PixelSize(0.5, 0.25), None])
@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TZYX"])
def test_label_tiff_of_a_stack(axes, dtype, size):
    """The tags and the description are those that ImageJ reads: one page per plane, deflate without a predictor."""
    labels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, 4, 5, 6)[-len(axes) :], dtype)
    data = labels_tiff_bytes(labels, size, axes)
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, labels)
    assert (image.pixels.dtype, image.axes, image.pixel_size, image.warnings) == (dtype, axes, size, ())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == np.prod(labels.shape[:-2])
        page = file.pages[0]
        assert (page.compression, page.predictor, page.photometric) == (8, 1, tifffile.PHOTOMETRIC.MINISBLACK)
        assert page.tags["Orientation"].value == 1
        facts = file.imagej_metadata
    assert facts["images"] == np.prod(labels.shape[:-2])
    assert (facts.get("slices", 1), facts.get("frames", 1)) == (
        labels.shape[-3] if "Z" in axes else 1,
        labels.shape[0] if "T" in axes else 1,
    )
    assert facts.get("unit") == (size and "micron")
    assert facts.get("spacing") == (size and size.z)


def test_flows_of_a_volume_are_in_the_order_of_imagej():
    flows = np.arange(3 * 2 * 4 * 5, dtype=np.float32).reshape(3, 2, 4, 5)
    image = read_image(tiff_bytes(flows, "CZYX"))
    assert image.axes == "ZCYX"
    np.testing.assert_array_equal(image.pixels, flows.swapaxes(0, 1))


def test_large_arrays_become_bigtiff(monkeypatch):
    labels = np.zeros((3, 20, 30), np.uint16)
    assert labels_tiff_bytes(labels, None, "ZYX")[:4] == b"II*\0"
    monkeypatch.setattr(tiff, "_MOST_CLASSIC_BYTES", labels.nbytes - 1)
    data = labels_tiff_bytes(labels, None, "ZYX")
    assert data[:4] == b"II+\0"
    assert read_image(data).axes == "ZYX"


@given(LABELS)
def test_label_png(labels):
    if labels.max(initial=0) > 65535:
        with pytest.raises(ImageError, match=r"65,535.*TIFF") as caught:
            labels_png_bytes(labels)
        assert caught.value.metadata == {"resource": "objects", "value": int(labels.max()), "limit": 65535}
        return
    image = read_image(labels_png_bytes(labels))
    np.testing.assert_array_equal(image.pixels, labels)
    assert image.pixels.dtype == np.uint16


def test_label_png_is_full_at_65535():
    labels = np.array([[0, 65535]], np.uint32)
    np.testing.assert_array_equal(read_image(labels_png_bytes(labels)).pixels, labels)
    with pytest.raises(ImageError):
        labels_png_bytes(labels + 1)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_pictures(picture):
    np.testing.assert_array_equal(read_image(png_bytes(picture)).pixels, picture)
    np.testing.assert_array_equal(read_image(png_bytes(picture[::-1, ::-1])).pixels, picture[::-1, ::-1])


def test_table():
    (row,) = csv.DictReader(io.StringIO(table_csv_bytes([ROW]).decode()))
    sizes = ["pixel_size_y_um", "pixel_size_x_um"]
    assert list(row) == [*NAMES, *sizes]
    assert [row.pop(size) for size in sizes] == ["", ""]
    assert row == {
        "label": "7",
        "bbox-0": "1",
        "bbox-1": "2",
        "bbox-2": "3",
        "bbox-3": "4",
        "centroid-0": "1.5",
        "centroid-1": "2.25",
        "area": "4",
        "equivalent_diameter_area": "2.256758",
        "mean_probability": "0.875",
        "flow_error": "0.015625",
    }
    assert table_csv_bytes([]).decode() == ",".join([*NAMES, *sizes]) + "\n"
    (row,) = csv.DictReader(io.StringIO(table_csv_bytes([ROW], pixel_size=PixelSize(0.5, 0.25)).decode()))
    assert [row[size] for size in sizes] == ["0.5", "0.25"]


def test_table_of_a_volume():
    names = [column.name for column in columns("ZYX")]
    assert names[1:10] == [*(f"bbox-{n}" for n in range(6)), *(f"centroid-{n}" for n in range(3))]
    row = {name: number for number, name in enumerate(names)}
    (read,) = csv.DictReader(io.StringIO(table_csv_bytes([row], "ZYX", PixelSize(0.5, 0.25, 2)).decode()))
    sizes = {"pixel_size_z_um": "2", "pixel_size_y_um": "0.5", "pixel_size_x_um": "0.25"}
    assert read == {name: str(value) for name, value in row.items()} | sizes


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_table_of_a_time_series(axes):
    names = [column.name for column in columns(axes)]
    assert names == ["frame", *(column.name for column in columns(axes[1:]))]
    row = {name: number for number, name in enumerate(names)}
    (read,) = csv.DictReader(io.StringIO(table_csv_bytes([row], axes, PixelSize(0.5, 0.25, 2)).decode()))
    assert {name: read.pop(name) for name in names} == {name: str(value) for name, value in row.items()}
    assert list(read) == [f"pixel_size_{axis.lower()}_um" for axis in axes[1:]]


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_columns_have_the_names_of_scikit_image(axes):
    measure = pytest.importorskip("skimage.measure")
    ours = {"mean_probability", "flow_error"}
    labels = np.pad(np.ones((2, 3, 4)[-len(axes) :], int), 2)
    columns_of_axes = {column.name for column in columns(axes)} - ours
    names = {name.partition("-")[0] for name in columns_of_axes}
    assert set(measure.regionprops_table(labels, properties=sorted(names))) == columns_of_axes


def test_every_writer_writes_what_it_returns(tmp_path):
    labels = np.pad(np.ones((6, 7), np.uint16), 3)
    image = read_image(png_bytes(labels))
    path = tmp_path / "new" / "file"
    for write, make, arguments in (
        (write_labels_tiff, labels_tiff_bytes, (labels,)),
        (write_labels_png, labels_png_bytes, (labels,)),
        (write_png, png_bytes, (labels,)),
        (write_table_csv, table_csv_bytes, ([ROW],)),
        (write_overlay, overlay_bytes, (image, labels)),
    ):
        write(path, *arguments)
        assert path.read_bytes() == make(*arguments)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), draw_overlay(image, labels))
    assert planes(image).shape == (1, *labels.shape)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "labels.tif"
    path.write_bytes(b"old")
    with pytest.raises(KeyError):
        write_table_csv(path, [{"label": 1}])
    with pytest.raises(Exception, match=r"."):
        write_labels_tiff(path, np.array(["no numbers"]))

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_not_overwritten(tmp_path):
    """Whoever has the old file open keeps reading the old file."""
    path, held = tmp_path / "overlay.png", tmp_path / "held"
    path.write_bytes(b"old")
    held.hardlink_to(path)
    write_png(path, np.zeros((4, 5, 3), np.uint8))
    assert held.read_bytes() == b"old"
    assert path.read_bytes() != b"old"


@pytest.mark.parametrize("axes", ["YX", "CYX", "SYX", "YXS", "YXC", "YCX"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint32, np.float64])
def test_overlays_of_every_layout_are_the_same(axes, count, dtype):
    """Planes first or last, contiguous or not: the picture shows the same planes."""
    stack = np.random.default_rng(0).integers(0, 2 if dtype is bool else 200, (count, 9, 14)).astype(dtype)
    labels = np.pad(np.ones((4, 6), np.uint16), ((2, 3), (4, 4)))
    expected = draw_overlay(Image(stack, "CYX"), labels)
    if axes == "YX":
        stack, expected = stack[0], draw_overlay(Image(stack[:1], "CYX"), labels)
    else:
        stack = np.moveaxis(stack, 0, [letter in "CS" for letter in axes].index(True))
    for pixels in (np.ascontiguousarray(stack), np.asfortranarray(stack), stack):
        written = read_image(overlay_bytes(Image(pixels, axes, PixelSize(0.5, 0.25)), labels))
        np.testing.assert_array_equal(written.pixels, expected)
        assert written.pixel_size == PixelSize(0.5, 0.25)


@pytest.mark.parametrize("size", [PixelSize(0.325, 0.325), PixelSize(0.1, 0.25, 2.0), PixelSize(12.5, 0.001), None])
def test_every_writer_that_can_carries_the_pixel_size(size):
    labels = np.pad(np.ones((6, 7), np.uint16), 3)
    for data in (labels_tiff_bytes(labels, size), labels_png_bytes(labels, size), png_bytes(labels, size)):
        read = read_image(data).pixel_size
        if size is None:
            assert read is None
        else:
            assert read == PixelSize(pytest.approx(size.y, rel=1e-3), pytest.approx(size.x, rel=1e-3))
    collection = json.loads(geojson_bytes(labels, pixel_size=size))
    assert collection.get("pixel_size_um") == (size and size._asdict())


def test_names_that_are_as_long_as_a_file_system_takes(tmp_path):
    path = tmp_path / ("n" * 255)
    write_png(path, np.zeros((4, 5), np.uint8))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
