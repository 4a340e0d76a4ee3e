"""Files made to cost memory or time: refused, within the limits."""

from __future__ import annotations

import io
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_formats import Image, ImageError, Limits, read_image
from cellserve_formats.contents import open_images
from hypothesis import given
from hypothesis import strategies as st

from .samples import COLOUR, GREY, palette_png, patched_tag, png_header, tiff

LIMITS = Limits(pixels=1_000_000, bytes=4_000_000, planes=4, pages=50, metadata_bytes=100_000)
WIDTH, LENGTH, ROWS_PER_STRIP, STRIP_OFFSETS, TILE_WIDTH = 256, 257, 278, 273, 322


def peak_of(call: Callable[[], Any]) -> tuple[Any, int]:
    """Result (an image or an error) and most bytes that Python and NumPy held on the way."""
    tracemalloc.start()
    try:
        result: Any = call()
    except ImageError as error:
        result = error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return result, peak


def refused(data: bytes, reason: str, limits: Limits = LIMITS, most: int = 2_000_000) -> ImageError:
    """Asserts that a file is refused, fast and without memory."""
    start = time.perf_counter()
    error, peak = peak_of(lambda: read_image(data, limits=limits))
    assert isinstance(error, ImageError), f"read as {error}"
    assert error.reason == reason, error
    assert peak < len(data) + most
    opened, peak = peak_of(lambda: first_time_point(data, limits))
    assert isinstance(opened, ImageError) or opened.pixels.nbytes <= limits.bytes
    assert peak < len(data) + most
    assert time.perf_counter() - start < 5
    return error


def first_time_point(data: bytes, limits: Limits) -> Image:
    """The first time point of the first image of a file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with open_images(file.name, limits=limits) as images:
            return images.read(0)


def test_headers_larger_than_the_limits():
    refused(png_header(60_000, 60_000) + bytes(100), "IMAGE_TOO_LARGE")
    refused(png_header(1001, 1000) + bytes(100), "IMAGE_TOO_LARGE")
    jpeg = bytearray(imagecodecs.jpeg8_encode(COLOUR))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    refused(bytes(jpeg), "IMAGE_TOO_LARGE")
    refused(patched_tag(patched_tag(tiff(GREY), WIDTH, 60_000), LENGTH, 60_000), "IMAGE_TOO_LARGE")
    refused(tiff(np.zeros((1001, 1000), np.uint8), compression="zlib"), "IMAGE_TOO_LARGE")
    refused(tiff(np.zeros((5, 9, 9), np.uint8), imagej=True, metadata={"axes": "ZYX"}), "IMAGE_TOO_LARGE")


@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6])
def test_empty_images(colour):
    refused(png_header(0, 10, colour=colour) + bytes(30), "IMAGE_EMPTY")


def test_limits_are_exact():
    data = tiff(np.zeros((1000, 1000), np.float32), compression="zlib")
    assert read_image(data, limits=LIMITS).pixels.nbytes == LIMITS.bytes
    for name, value in (("pixels", 1_000_000), ("bytes", 4_000_000), ("planes", 1)):
        tight = {"pixels": 1_000_000, "bytes": 4_000_000, "planes": 1} | {name: value - 1}
        error = refused(data, "IMAGE_TOO_LARGE", Limits(**tight))
        assert error.metadata == {"resource": name, "value": value, "limit": value - 1}


@pytest.mark.parametrize(
    "layout", [{}, {"compression": "zlib", "tile": (256, 256)}, {"compression": "lzw", "rowsperstrip": 8}]
)
def test_reading_takes_little_memory_beside_the_image(layout):
    pixels = np.random.default_rng(0).integers(0, 4096, (3000, 3000), np.uint16)
    data = tiff(pixels, **layout)
    image, peak = peak_of(lambda: read_image(data))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert peak < 1.5 * pixels.nbytes


@pytest.mark.parametrize("codec", ["zlib", "zstd", "lzma", "lzw", "packbits"])
def test_bombs_in_a_strip(codec):
    """Pixels of 20 MB in a file whose tags say 10 x 1000."""
    bomb = tiff(np.zeros((20_000, 1000), np.uint8), compression=codec, rowsperstrip=20_000)
    data = patched_tag(patched_tag(bomb, LENGTH, 10), ROWS_PER_STRIP, 10)
    result, peak = peak_of(lambda: read_image(data, limits=LIMITS))
    assert peak < 2 * len(data) + 2_000_000
    if isinstance(result, Image):
        assert result.pixels.shape == (10, 1000)


def test_strips_longer_than_the_image():
    data = patched_tag(tiff(GREY, compression="zlib", rowsperstrip=20), ROWS_PER_STRIP, 2**32 - 1)
    limits = replace(LIMITS, bytes_per_strip=GREY.nbytes)
    np.testing.assert_array_equal(read_image(data, limits=limits).pixels, GREY)


def test_strips_are_unpacked_beside_the_image():
    """Therefore they have a limit of their own, unless they are not compressed."""
    for options in ({"rowsperstrip": 20}, {"tile": (32, 32)}):
        data = tiff(np.zeros((40, 32), np.uint16), compression="zlib", **options)
        unpacked = 32 * 2 * (32 if "tile" in options else 20)
        assert read_image(data, limits=replace(LIMITS, bytes_per_strip=unpacked)).pixels.shape == (40, 32)
        with pytest.raises(ImageError) as caught:
            read_image(data, limits=replace(LIMITS, bytes_per_strip=unpacked - 1))
        assert (caught.value.reason, caught.value.metadata["resource"]) == ("IMAGE_TOO_LARGE", "bytes_per_strip")
    plain = tiff(np.zeros((40, 32), np.uint16), rowsperstrip=20)
    assert read_image(plain, limits=replace(LIMITS, bytes_per_strip=1)).pixels.shape == (40, 32)


def test_tiles_larger_than_the_limits():
    refused(tiff(np.zeros((16, 16), np.uint8), tile=(2048, 2048), compression="zlib"), "IMAGE_TOO_LARGE")


def test_jpeg_streams_larger_than_their_tags():
    large = tiff(np.zeros((4000, 4000), np.uint8), compression="jpeg", rowsperstrip=4000)
    data = patched_tag(patched_tag(patched_tag(large, WIDTH, 16), LENGTH, 16), ROWS_PER_STRIP, 16)
    assert "larger than its tags" in refused(data, "IMAGE_UNDECODABLE").message


def test_endless_chain_of_pages():
    """343 bytes whose pages lead back to themselves: the parser alone would follow them for hours."""
    refused((Path(__file__).parents[2] / "data" / "endless_pages.tif").read_bytes(), "IMAGE_UNDECODABLE")


def test_too_many_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for _ in range(51):
            file.write(GREY, metadata=None, contiguous=False)
    error = refused(buffer.getvalue(), "IMAGE_TOO_LARGE")
    assert error.metadata == {"resource": "pages", "value": 51, "limit": 50}


def test_too_many_smaller_copies():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(GREY, subifds=51, metadata=None)
        for _ in range(51):
            file.write(GREY[::2, ::2], subfiletype=1, metadata=None)
    assert refused(buffer.getvalue(), "IMAGE_TOO_LARGE").metadata["resource"] == "pages"


@pytest.mark.parametrize("kind", [(1, "B"), (2, "s"), (4, "I"), (12, "d")])
def test_too_large_tags(kind):
    code, _ = kind
    value = "x" * 200_000 if code == 2 else bytes(200_000) if code == 1 else [0] * 50_000
    data = tiff(GREY, extratags=[(65000, code, len(value), value, False)])
    assert refused(data, "IMAGE_TOO_LARGE").metadata["resource"] == "metadata_bytes"


def test_tags_larger_than_the_file():
    data = tiff(GREY)
    (offset,) = struct.unpack_from("<I", data, 4)
    at = data.index(struct.pack("<H", STRIP_OFFSETS), offset)
    refused(data[: at + 4] + struct.pack("<I", 2**31) + data[at + 8 :], "IMAGE_UNDECODABLE")


@pytest.mark.parametrize("count", [65535, 4097])
def test_too_many_tags(count):
    data = tiff(GREY)
    (offset,) = struct.unpack_from("<I", data, 4)
    bad = data[:offset] + struct.pack("<H", count) + data[offset + 2 :] + bytes(12 * 65536)
    refused(bad, "IMAGE_UNDECODABLE")


OME = """<?xml version="1.0"?>{entities}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0"><{prefix}Pixels DimensionOrder="{order}" ID="Pixels:0" SizeX="{width}" SizeY="{height}" SizeC="1"
SizeZ="1" SizeT="{frames}" Type="uint16"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</{prefix}Pixels></Image>
{more}</OME>"""
MODULO = """<StructuredAnnotations><XMLAnnotation ID="A" Namespace="openmicroscopy.org/omero/dimension/modulo"><Value>
<Modulo><ModuloAlongT Type="phase" Start="0" End="1000000000"/></Modulo></Value></XMLAnnotation>
</StructuredAnnotations>"""


SOUND = {"frames": 1, "width": 30, "height": 20, "order": "XYCZT", "data": '<TiffData IFD="0" PlaneCount="1"/>'}


def ome(**changes: Any) -> bytes:
    text = OME.format(**({"more": "", "entities": "", "prefix": ""} | SOUND | changes))
    return tiff(GREY, description=text.encode(), metadata=None)


def test_the_ome_document_of_the_next_tests_is_sound():
    assert read_image(ome(), limits=LIMITS).axes == "YX"


@pytest.mark.parametrize(
    "bomb",
    [
        {"frames": 10**9},
        {"frames": 10**9, "data": ""},
        {"data": '<TiffData IFD="0" PlaneCount="1000000000"/>'},
        {"data": '<TiffData IFD="0" NumPlanes="1000000000"/>'},
        {"data": '<TiffData IFD="0" PlaneCount="40"/>' * 200},
        {"data": '<TiffData IFD="0" PlaneCount="-1000000000"/>'},
        {"frames": -(10**9)},
        {"width": 600_000, "height": 700_000},
        {"width": -600_000, "height": -700_000},
        {"order": "XYCZQ", "frames": '1" SizeQ="1000000000'},
        {"order": "XYTTTTT", "frames": 60},
        {"prefix": "Other", "frames": 10**9},
        {"more": MODULO},
    ],
)
def test_ome_documents_that_describe_too_many_planes(bomb):
    assert refused(ome(**bomb), "IMAGE_TOO_LARGE").metadata["resource"] == "pages"


def test_ome_documents_of_an_unknown_order():
    refused(ome(order="CXYZT"), "IMAGE_UNDECODABLE")


def test_ome_documents_with_entities():
    refused(ome(entities='<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa">]>'), "IMAGE_UNDECODABLE")


def test_ome_documents_that_lack_planes():
    refused(ome(frames=3), "IMAGE_UNDECODABLE")


@pytest.mark.parametrize("other", ["endless_pages.tif", "../other.tif", "/etc/passwd", "folder", "text.tif"])
def test_parts_in_other_files(tmp_path, other):
    part = f'<TiffData FirstT="1" IFD="0" PlaneCount="1"><UUID FileName="{other}">urn:uuid:1</UUID></TiffData>'
    data = ome(frames=2, data='<TiffData IFD="0" PlaneCount="1"/>' + part)
    folder = tmp_path / "files"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "other.tif").write_bytes(tiff(GREY))
    (folder / "text.tif").write_text("no pixels")
    (folder / "endless_pages.tif").write_bytes((Path(__file__).parents[2] / "data" / "endless_pages.tif").read_bytes())
    (folder / "first.ome.tif").write_bytes(data)
    for source in (data, folder / "first.ome.tif"):
        with pytest.raises(ImageError) as caught:
            read_image(source, limits=LIMITS)
        assert caught.value.reason == "IMAGE_UNDECODABLE"
    with open_images(folder / "first.ome.tif", limits=LIMITS) as images, pytest.raises(ImageError) as caught:
        images.read(0)
    assert caught.value.reason == "IMAGE_UNDECODABLE"


SMALL = Limits(pixels=10_000, bytes=40_000, planes=8, pages=20, metadata_bytes=20_000)
WHOLE = {
    "tiff": tiff(GREY),
    "bigtiff": tiff(GREY, bigtiff=True, compression="zlib"),
    "tiled": tiff(COLOUR, photometric="rgb", tile=(16, 16), compression="lzw", predictor=True),
    "big-endian": tiff(np.stack([GREY] * 2), byteorder=">", imagej=True, metadata={"axes": "CYX"}),
    "ome": tiff(np.stack([GREY] * 4), ome=True, compression="zstd", metadata={"axes": "TYX", "PhysicalSizeX": 0.5}),
    "jpeg-in-tiff": tiff(COLOUR, photometric="rgb", compression="jpeg", tile=(16, 16)),
    "png": imagecodecs.png_encode(COLOUR),
    "palette": palette_png(GREY % 4, np.arange(12)),
    "jpeg": imagecodecs.jpeg8_encode(COLOUR),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_the_files_of_the_next_test_are_whole(kind):
    assert read_image(WHOLE[kind], limits=SMALL).pixels.shape[-2:] is not None


@given(
    kind=st.sampled_from(sorted(WHOLE)),
    # Offsets near the end or the start are headers, directories and tags in these small files.
    changes=st.lists(st.tuples(st.integers(-600, 600), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.none() | st.integers(0, 3000),
    noise=st.binary(max_size=100),
    opened=st.booleans(),
)
def test_damaged_files_are_refused_or_read_within_the_limits(kind, changes, cut, noise, opened):
    data = bytearray(WHOLE[kind])
    for at, value in changes:
        at %= len(data)
        data[at : at + len(value)] = value
    if cut is not None:
        data = data[:cut] + noise
    read = first_time_point if opened else read_image
    result, peak = peak_of(lambda: read(bytes(data), limits=SMALL))
    assert peak < 3 * len(data) + 2 * SMALL.bytes + 20 * SMALL.metadata_bytes + 1_000_000
    if isinstance(result, ImageError):
        assert result.reason in {
            "IMAGE_EMPTY",
            "IMAGE_UNDECODABLE",
            "AXES_UNKNOWN",
            "IMAGE_UNKNOWN",
            "DATA_TYPE_UNSUPPORTED",
            "PIXELS_NOT_FINITE",
            "IMAGE_TOO_LARGE",
        }
    else:
        assert result.pixels.nbytes <= SMALL.bytes
        assert result.pixels.ndim == len(result.axes)


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"\xff\xd8\xff", b""]))
def test_noise_is_only_ever_refused(noise, start):
    with pytest.raises(ImageError):
        read_image(start + noise, limits=SMALL)
