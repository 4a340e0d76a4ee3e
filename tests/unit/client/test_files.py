"""Image files: read, or refused by their name."""

from __future__ import annotations

import cellserve
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import Object, PixelSize, read_image
from cellserve.files import reading
from cellserve_contract.extras import MissingExtraError
from cellserve_contract.objects import columns
from cellserve_formats import ImageError

GREY = np.random.default_rng(0).integers(0, 4096, (20, 30), np.uint16)


def test_images_have_axes_and_pixel_sizes(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.stack([GREY] * 2), imagej=True, resolution=(4, 2), metadata={"axes": "CYX", "unit": "um"})
    image = read_image(path)
    assert (image.axes, image.pixel_size, image.name) == ("CYX", PixelSize(0.5, 0.25), "image.tif")
    tifffile.imwrite(path, np.stack([GREY, GREY]), photometric="minisblack")
    assert read_image(path, "CYX").axes == "CYX"


@pytest.mark.parametrize(
    ("content", "message", "reason"),
    [
        (b"GIF89a", "the file is neither TIFF nor PNG nor JPEG", "IMAGE_UNDECODABLE"),
        (b"II*\0", "the TIFF file cannot be decoded", "IMAGE_UNDECODABLE"),
        (imagecodecs.png_encode(GREY)[:200], "the PNG file cannot be decoded", "IMAGE_UNDECODABLE"),
    ],
)
def test_errors_name_the_file(tmp_path, content, message, reason):
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(cellserve.InvalidRequestError, match=f"damaged: {message}") as caught:
        read_image(tmp_path / "damaged")
    assert caught.value.reason == reason


def test_metadata_of_an_error_are_words(tmp_path):
    tifffile.imwrite(tmp_path / "nan.tif", np.full((4, 5), np.nan, np.float32))
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        read_image(tmp_path / "nan.tif")
    assert (caught.value.reason, caught.value.metadata) == ("PIXELS_NOT_FINITE", {"pixels": "20"})


@pytest.mark.parametrize(
    ("axes", "shape", "word", "choices"),
    [
        ("ZYX", (5, 20, 30), "z stack", "--volume.*--stitch.*--planes"),
        ("TYX", (5, 20, 30), "time series", "segment_series"),
        ("ZCYX", (5, 2, 20, 30), "ZCYX", "--volume.*--stitch.*--planes"),
        ("TZYX", (2, 3, 20, 30), "time series", "segment_series"),
    ],
)
def test_stacks_are_refused_by_name(tmp_path, axes, shape, word, choices):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros(shape, np.uint16), imagej=True, metadata={"axes": axes})
    message = rf"stack\.tif: .*{word}.*{choices}"
    with pytest.raises(cellserve.InvalidRequestError, match=message) as caught:
        read_image(tmp_path / "stack.tif")
    assert caught.value.reason == "AXES_UNKNOWN"


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "missing.tif", tmp_path):
        with pytest.raises(cellserve.InvalidRequestError) as caught:
            read_image(path)
        assert caught.value.reason == "FILE_UNREADABLE"


def test_errors_of_readers_name_the_file(tmp_path):
    for error, reason in (
        (MissingExtraError("install this"), "EXTRA_MISSING"),
        (ImageError("damaged", "IMAGE_UNDECODABLE"), "IMAGE_UNDECODABLE"),
        (FileNotFoundError(2, "not there"), "FILE_UNREADABLE"),
    ):
        with pytest.raises(cellserve.InvalidRequestError) as caught, reading(tmp_path / "a.czi"):
            raise error
        assert caught.value.reason == reason
        assert caught.value.message.startswith(f"{tmp_path / 'a.czi'}: ")


def test_rows_of_the_table():
    entry = Object(7, (1, 2, 3, 4), (1.5, 2.25), 4, 2.2567583, 0.875, 0.015625)
    names = [column.name for column in columns()]
    assert entry.row() == dict(zip(names, (7, 1, 2, 3, 4, 1.5, 2.25, 4, 2.2567583, 0.875, 0.015625), strict=True))


def test_one_of_several_images_is_chosen(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(GREY, metadata=None)
        file.write(GREY[:10], metadata=None)
    with pytest.raises(cellserve.InvalidRequestError, match=r"2 images.*--series") as caught:
        read_image(tmp_path / "two.tif")
    assert (caught.value.reason, caught.value.metadata) == ("IMAGE_UNKNOWN", {"available": "2"})
    assert read_image(tmp_path / "two.tif", series=1).pixels.shape == (10, 30)
