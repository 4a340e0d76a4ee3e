"""Files of the field: read as what they are, refused where that is not clear; results written whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path

import cellserve
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import BoundingBox, Object, read_image
from cellserve.files import is_output, plan_outputs, write_labels, write_png, write_table

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (20, 30), np.uint16)
COLOUR = RNG.integers(0, 256, (20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "options", "axes"),
    [
        (GREY, {}, "YX"),
        (GREY.astype(">u2"), {"byteorder": ">"}, "YX"),
        (GREY.astype(np.float32), {"compression": "zlib"}, "YX"),
        (GREY, {"bigtiff": True}, "YX"),
        (GREY, {"tile": (16, 16)}, "YX"),
        (COLOUR, {"photometric": "rgb"}, "YXC"),
        (COLOUR, {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 100}}, "YXC"),
        (np.stack([GREY] * 3), {"imagej": True, "metadata": {"axes": "CYX"}}, "CYX"),
        (np.stack([GREY] * 2), {"ome": True, "metadata": {"axes": "CYX"}}, "CYX"),
        (np.moveaxis(COLOUR, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, "CYX"),
        (GREY[None, None], {"ome": True, "metadata": {"axes": "TZYX"}}, "YX"),
        (np.stack([GREY] * 2)[None, None], {"imagej": True, "metadata": {"axes": "TZCYX"}}, "CYX"),
        (GREY[:1], {}, "YX"),
        (np.stack([GREY[:1, :1]] * 2), {"ome": True, "metadata": {"axes": "CYX"}}, "CYX"),
    ],
)
def test_tiff(tmp_path, pixels, options, axes):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, **options)
    image = read_image(path)
    assert image.axes == axes
    assert image.pixels.ndim == len(axes)
    if "compressionargs" in options:
        assert image.pixels.shape == pixels.shape
    else:
        np.testing.assert_array_equal(image.pixels, pixels.reshape(image.pixels.shape))


@pytest.mark.parametrize(
    ("axes", "shape", "word"),
    [
        ("ZYX", (5, 20, 30), "z stack"),
        ("TYX", (5, 20, 30), "time series"),
        ("ZCYX", (5, 2, 20, 30), r"ZCYX"),
        ("TZYX", (2, 3, 20, 30), "and"),
    ],
)
def test_stacks_are_refused_by_name(tmp_path, axes, shape, word):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros(shape, np.uint16), imagej=True, metadata={"axes": axes})
    with pytest.raises(cellserve.InvalidRequestError, match=rf"stack\.tif: .*{word}.*not supported yet") as caught:
        read_image(tmp_path / "stack.tif")
    assert caught.value.reason == "AXES_UNKNOWN"


def test_planes_without_names_need_the_callers_word(tmp_path):
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, np.stack([GREY, GREY]), photometric="minisblack")
    with pytest.raises(cellserve.InvalidRequestError, match="could be channels, z or time"):
        read_image(path)
    assert read_image(path, "CYX").axes == "CYX"
    with pytest.raises(cellserve.InvalidRequestError, match="could be channels"):
        read_image(path, "YX")


def test_what_the_file_says_wins(tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", GREY)
    assert read_image(tmp_path / "grey.tif", "CYX").axes == "YX"


def test_several_images_in_a_file(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(GREY, metadata=None)
        file.write(COLOUR, metadata=None)
    with pytest.raises(cellserve.InvalidRequestError, match="it holds 2 images"):
        read_image(tmp_path / "two.tif")


def test_alpha_of_a_tiff(tmp_path):
    rgba = np.dstack([COLOUR, np.full((20, 30), 255, np.uint8)])
    tifffile.imwrite(tmp_path / "alpha.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.tif").pixels, COLOUR)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (GREY, GREY),
        (COLOUR, COLOUR),
        (COLOUR[:, :, 0], COLOUR[:, :, 0]),
        (np.dstack([COLOUR, COLOUR[:, :, 0]]), COLOUR),
        (COLOUR[:, :, :2], COLOUR[:, :, 0]),
    ],
)
def test_png(tmp_path, pixels, expected):
    path = tmp_path / "image.dat"  # the content tells, not the name
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == expected.dtype
    assert image.axes == ("YX" if expected.ndim == 2 else "YXC")


@pytest.mark.parametrize("pixels", [np.full((16, 24), 90, np.uint8), np.full((16, 24, 3), 90, np.uint8)])
def test_jpeg(tmp_path, pixels):
    (tmp_path / "image.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels))
    image = read_image(tmp_path / "image.jpg")
    assert image.pixels.shape == pixels.shape
    assert np.abs(image.pixels.astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("content", "message", "reason"),
    [
        (b"", "neither TIFF nor PNG nor JPEG", "IMAGE_UNDECODABLE"),
        (b"GIF89a", "neither TIFF nor PNG nor JPEG", "IMAGE_UNDECODABLE"),
        (b"II*\0", "cannot be decoded", "IMAGE_UNDECODABLE"),
        (b"II*\0\xff\xff\xff\x7f", "cannot be decoded", "IMAGE_UNDECODABLE"),
        (b"\x89PNG\r\n\x1a\n broken", "cannot be decoded", "IMAGE_UNDECODABLE"),
        (b"\xff\xd8\xff broken", "cannot be decoded", "IMAGE_UNDECODABLE"),
    ],
)
def test_damaged_files(tmp_path, content, message, reason):
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(cellserve.InvalidRequestError, match=f"damaged: {message}") as caught:
        read_image(tmp_path / "damaged")
    assert caught.value.reason == reason


def test_truncated_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "whole.tif", GREY, compression="zlib")
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "part.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(cellserve.InvalidRequestError, match="cannot be decoded"):
        read_image(tmp_path / "part.tif")


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "missing.tif", tmp_path):
        with pytest.raises(cellserve.InvalidRequestError) as caught:
            read_image(path)
        assert caught.value.reason == "FILE_UNREADABLE"


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_labels_round_trip(tmp_path, dtype):
    labels = RNG.integers(0, np.iinfo(dtype).max, (50, 70), dtype, endpoint=True)
    write_labels(tmp_path / "new" / "labels.tif", labels)
    with tifffile.TiffFile(tmp_path / "new" / "labels.tif") as file:
        assert file.series[0].axes == "YX"
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        read = file.asarray()
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == dtype


def test_table(tmp_path):
    entry = Object(7, BoundingBox(1, 2, 3, 4), (1.5, 2.25), 4, 2.2567583, 0.875, 0.015625)
    write_table(tmp_path / "objects.csv", [entry])
    with (tmp_path / "objects.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "label": "7",
        "y_min": "1",
        "x_min": "2",
        "y_max": "3",
        "x_max": "4",
        "centroid_y": "1.5",
        "centroid_x": "2.25",
        "area": "4",
        "diameter": "2.256758",
        "mean_probability": "0.875",
        "flow_error": "0.015625",
    }
    assert b"\r" not in (tmp_path / "objects.csv").read_bytes()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "labels.tif"
    path.write_bytes(b"old")

    def objects():
        raise RuntimeError("power cut")
        yield

    with pytest.raises(RuntimeError):
        write_table(path, objects())
    with pytest.raises(Exception, match=r"."):
        write_labels(path, np.array(["no numbers"]))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_png(path, np.zeros((4, 5, 3), np.uint8))
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_replaced_not_overwritten(tmp_path):
    """Whoever has the old file open keeps reading the old file."""
    path, held = tmp_path / "overlay.png", tmp_path / "held"
    path.write_bytes(b"old")
    held.hardlink_to(path)
    write_png(path, np.zeros((4, 5, 3), np.uint8))
    assert held.read_bytes() == b"old"


def test_names_of_results():
    plan = plan_outputs([Path("a/x.ome.tif"), Path("b/y.png")], None)
    assert plan[Path("a/x.ome.tif")].labels == Path("a/x.ome_cp_masks.tif")
    assert plan[Path("b/y.png")].overlay == Path("b/y_overlay.png")
    (outputs,) = plan_outputs([Path("a/x.tif")], Path("out")).values()
    assert outputs.table == Path("out/x_objects.csv")
    assert all(is_output(path) for path in (outputs.labels, outputs.table, outputs.overlay))
    assert not is_output(Path("a/x.tif"))


def test_results_never_share_a_name():
    same = [Path("a/x.tif"), Path("b/x.tif")]
    assert len(plan_outputs(same, None)) == 2
    with pytest.raises(cellserve.InvalidRequestError, match=r"b/x\.tif.*would both write out/x_cp_masks\.tif"):
        plan_outputs(same, Path("out"))
    with pytest.raises(cellserve.InvalidRequestError, match="would both write"):
        plan_outputs([Path("a/x.tif"), Path("a/x.png")], None)
    assert list(plan_outputs([Path("a/x.tif"), Path("a/../a/x.tif"), Path("y.tif")], None)) == [
        Path("a/x.tif"),
        Path("y.tif"),
    ]
