"""Files that end too early, or lack parts, are refused: what is not there is not made up."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_formats import ImageError, read_image

from .samples import GREY, exif, patched_tag, tiff

SMOOTH = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
STACK = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325


def refused(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(data, axes="CYX")
    assert caught.value.reason == "IMAGE_UNDECODABLE", caught.value.message


def with_thumbnail(jpeg: bytes) -> bytes:
    """A JPEG file with a whole small picture, which ends as a picture does, in its EXIF data."""
    content = b"Exif\0\0" + exif(1) + imagecodecs.jpeg8_encode(SMOOTH[::8, ::8].copy())
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


JPEGS = {
    "grey": imagecodecs.jpeg8_encode(SMOOTH),
    "colour": imagecodecs.jpeg8_encode(np.dstack([SMOOTH] * 3)),
    "thumbnail": with_thumbnail(imagecodecs.jpeg8_encode(SMOOTH)),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9, 0.99])
def test_jpeg(kind, part):
    whole = JPEGS[kind]
    assert np.abs(read_image(whole).pixels.astype(int).reshape(64, 80, -1)[..., 0] - SMOOTH).mean() < 3
    kept = whole[: int(len(whole) * part)]
    refused(kept)
    refused(kept + bytes(len(whole) - len(kept)))  # a download that was interrupted


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_jpeg_in_a_tiff(layout):
    whole = tiff(SMOOTH, compression="jpeg", **layout)
    assert np.abs(read_image(whole).pixels.astype(int) - SMOOTH).mean() < 3
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        start, size = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    refused(whole[: start + size // 2])
    refused(whole[: start + size // 2] + bytes(size - size // 2) + whole[start + size :])


@pytest.mark.parametrize("missing", [13, 20, 60, 200])
def test_png(missing):
    refused(imagecodecs.png_encode(GREY)[:-missing])


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
        {"photometric": "minisblack", "metadata": None},
        {"photometric": "minisblack", "metadata": None, "compression": "zlib"},
        {"photometric": "minisblack", "compression": "lzw", "rowsperstrip": 3},
    ],
)
def test_tiff_at_any_place_before_the_end_of_its_last_page(options):
    whole = tiff(STACK, **options)
    np.testing.assert_array_equal(read_image(whole, axes="CYX").pixels, STACK)
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        last = file.pages[-1]
        end = max(last.offset + 10, last.dataoffsets[-1] + last.databytecounts[-1])
    for length in range(8, end, 37):
        refused(whole[:length])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("tag", [STRIP_OFFSETS, STRIP_BYTES])
def test_a_strip_that_is_not_there(tag, options):
    refused(patched_tag(tiff(GREY, rowsperstrip=20, **options), tag, 0))


@pytest.mark.parametrize("tag", [TILE_OFFSETS, TILE_BYTES])
def test_tiles_that_are_all_not_there(tag):
    refused(patched_tag(tiff(GREY[:16, :16], tile=(16, 16)), tag, 0))


def test_single_tiles_may_be_left_out():
    """Slide scanners do not write tiles without tissue."""
    data = tiff(GREY[:16], tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[TILE_BYTES]
        size = struct.calcsize("<H" if tag.dtype == 3 else "<I")
    data = data[: tag.valueoffset] + bytes(size) + data[tag.valueoffset + size :]
    expected = GREY[:16].copy()
    expected[:, :16] = 0
    np.testing.assert_array_equal(read_image(data).pixels, expected)


def test_imagej_files_that_lack_planes():
    data = tiff(STACK, imagej=True, metadata={"axes": "CYX"})
    refused(data.replace(b"images=3", b"images=9").replace(b"channels=3", b"channels=9"))
