"""Bytes to pixels: every way in, and every way to refuse."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_gateway.app import decode
from cellserve_gateway.app.decode import Limits
from cellserve_gateway.errors import ImageTooLarge, InvalidImage, ServiceError
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits(pixels=1_000_000, bytes=8_000_000, channels=4)
UINT8 = np.dtype(np.uint8)


def reason(error: pytest.ExceptionInfo[ServiceError]) -> str:
    return error.value.reason


@pytest.mark.parametrize("dtype", decode.DTYPES, ids=str)
@pytest.mark.parametrize(("axes", "shape"), [("YX", (5, 7)), ("CYX", (2, 5, 7)), ("YXC", (5, 7, 2))])
@pytest.mark.parametrize("compressed", [False, True])
def test_raw_round_trip(dtype, axes, shape, compressed):
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype.newbyteorder("<"))
    data = zlib.compress(pixels.tobytes()) if compressed else pixels.tobytes()
    planes = decode.from_array(data, compressed, dtype, shape, axes, LIMITS)
    expected = {"YX": pixels[None], "CYX": pixels, "YXC": np.moveaxis(pixels, -1, 0)}.get(axes)
    np.testing.assert_array_equal(planes, expected)
    assert planes.dtype == dtype


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_byte_count_must_fit(extra, compressed):
    data = bytes(35 + extra)
    with pytest.raises(InvalidImage) as error:
        decode.from_array(zlib.compress(data) if compressed else data, compressed, UINT8, (5, 7), "YX", LIMITS)
    assert reason(error) == "IMAGE_SIZE_MISMATCH"
    assert error.value.metadata["expected_bytes"] == "35"


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((0, 7), "YX", "IMAGE_EMPTY"),
        ((5, -1), "YX", "IMAGE_EMPTY"),
        ((0, 5, 7), "CYX", "IMAGE_EMPTY"),
        ((5, 7), "XY", "AXES_UNKNOWN"),
        ((5, 7), "", "AXES_UNKNOWN"),
        ((5, 7, 2), "ZYX", "AXES_UNKNOWN"),
        ((5, 7), "CYX", "IMAGE_SIZE_MISMATCH"),
        ((), "YX", "IMAGE_SIZE_MISMATCH"),
        ((2**40, 2**40), "YX", "IMAGE_TOO_LARGE"),
        ((2**62, 4), "YX", "IMAGE_TOO_LARGE"),
        ((5, 5, 7), "CYX", "IMAGE_TOO_LARGE"),
        ((1001, 1000), "YX", "IMAGE_TOO_LARGE"),
    ],
)
def test_shapes_refused(shape, axes, expected):
    with pytest.raises(ServiceError) as error:
        decode.from_array(b"", False, UINT8, shape, axes, LIMITS)
    assert reason(error) == expected


def test_limits_are_exact():
    assert decode.from_array(bytes(1_000_000), False, UINT8, (1000, 1000), "YX", LIMITS).shape == (1, 1000, 1000)
    tight = Limits(pixels=1_000_000, bytes=999_999, channels=4)
    with pytest.raises(ImageTooLarge) as error:
        decode.from_array(bytes(1_000_000), False, UINT8, (1000, 1000), "YX", tight)
    assert error.value.metadata == {"resource": "bytes", "value": "1000000", "limit": "999999"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e31])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_must_be_finite(bad, dtype):
    pixels = np.zeros((4, 4), dtype)
    pixels[1, 2] = bad
    with pytest.raises(InvalidImage) as error:
        decode.from_array(pixels.tobytes(), False, np.dtype(dtype), (4, 4), "YX", LIMITS)
    assert reason(error) == "PIXELS_NOT_FINITE"
    assert error.value.metadata["pixels"] == "1"


def test_zlib_bomb_stays_small():
    bomb = zlib.compress(bytes(500_000_000))
    with pytest.raises(InvalidImage) as error:
        decode.from_array(bomb, True, UINT8, (10, 10), "YX", LIMITS)
    assert reason(error) == "IMAGE_SIZE_MISMATCH"


def test_not_zlib():
    with pytest.raises(InvalidImage) as error:
        decode.from_array(b"not zlib", True, UINT8, (10, 10), "YX", LIMITS)
    assert reason(error) == "IMAGE_UNDECODABLE"


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_png(dtype, planes):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (9, 11, planes), dtype=dtype, endpoint=True)
    data = imagecodecs.png_encode(pixels[..., 0] if planes == 1 else pixels)
    without_alpha = pixels[..., : {1: 1, 2: 1, 3: 3, 4: 3}[planes]]
    np.testing.assert_array_equal(decode.from_png(data, LIMITS), np.moveaxis(without_alpha, -1, 0))


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return decode.PNG_SIGNATURE + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))


def test_png_bomb_is_refused_by_its_header():
    with pytest.raises(ImageTooLarge):
        decode.from_png(png_header(60_000, 60_000) + bytes(100), LIMITS)


def tiff_bytes(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff(compression, byteorder):
    pixels = np.arange(99, dtype=np.uint16).reshape(9, 11)
    data = tiff_bytes(pixels, compression=compression, byteorder=byteorder)
    np.testing.assert_array_equal(decode.from_tiff(data, LIMITS), pixels[None])


def test_tiff_colour_and_channels():
    colour = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(
        decode.from_tiff(tiff_bytes(colour, photometric="rgb"), LIMITS), np.moveaxis(colour, -1, 0)
    )
    channels = np.arange(198, dtype=np.uint16).reshape(2, 9, 11)
    ome = tiff_bytes(channels, metadata={"axes": "CYX"}, ome=True, photometric="minisblack")
    np.testing.assert_array_equal(decode.from_tiff(ome, LIMITS), channels)
    imagej = tiff_bytes(channels, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(decode.from_tiff(imagej, LIMITS), channels)


def test_endless_tiff_is_refused():
    """343 bytes whose pages lead back to themselves: the parser alone would follow them for hours."""
    data = (Path(__file__).parents[2] / "data" / "endless_pages.tif").read_bytes()
    start = time.perf_counter()
    with pytest.raises(InvalidImage):
        decode.from_tiff(data, LIMITS)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png"])
def test_tiff_with_an_image_codec_inside_is_refused(compression):
    """Such a codec brings an image size of its own, which no header check sees."""
    with pytest.raises(InvalidImage) as error:
        decode.from_tiff(tiff_bytes(np.zeros((32, 32), np.uint8), compression=compression), LIMITS)
    assert reason(error) == "IMAGE_UNDECODABLE"
    assert "compressed" in error.value.message


def test_tiff_tile_larger_than_the_limit_is_refused():
    data = tiff_bytes(np.zeros((16, 16), np.uint8), tile=(2048, 2048), compression="zlib")
    with pytest.raises(ImageTooLarge):
        decode.from_tiff(data, LIMITS)


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + b"more"])
def test_zlib_stream_must_be_whole(change):
    with pytest.raises(InvalidImage) as error:
        decode.from_array(change(zlib.compress(bytes(35))), True, UINT8, (5, 7), "YX", LIMITS)
    assert reason(error) == "IMAGE_UNDECODABLE"


def test_tiff_alpha_is_ignored():
    colour = np.arange(36, dtype=np.uint8).reshape(3, 3, 4)
    data = tiff_bytes(colour, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(decode.from_tiff(data, LIMITS), np.moveaxis(colour[..., :3], -1, 0))


def test_tiff_of_two_images_is_refused():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.zeros((9, 11), np.uint8))
        file.write(np.zeros((5, 7), np.uint16))
    with pytest.raises(InvalidImage, match="2 images"):
        decode.from_tiff(buffer.getvalue(), LIMITS)


def test_tiff_stack_is_refused():
    stack = tiff_bytes(np.zeros((5, 9, 11), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(InvalidImage) as error:
        decode.from_tiff(stack, LIMITS)
    assert reason(error) == "AXES_UNKNOWN"


def test_tiff_dtype_is_refused():
    with pytest.raises(InvalidImage) as error:
        decode.from_tiff(tiff_bytes(np.zeros((9, 11), np.complex64)), LIMITS)
    assert reason(error) == "DATA_TYPE_UNSUPPORTED"


def test_tiff_bomb_is_refused_by_its_tags():
    with pytest.raises(ImageTooLarge):
        decode.from_tiff(tiff_bytes(np.zeros((1001, 1000), np.uint8), compression="zlib"), LIMITS)


@given(st.binary(max_size=300), st.integers(0, 300), st.sampled_from(["png", "tiff"]))
def test_damaged_files_are_only_ever_refused(noise, cut, kind):
    pixels = np.arange(99, dtype=np.uint8).reshape(9, 11)
    whole = imagecodecs.png_encode(pixels) if kind == "png" else tiff_bytes(pixels)
    damaged = whole[: min(cut, len(whole) - 1)] + noise
    read = decode.from_png if kind == "png" else decode.from_tiff
    try:
        planes = read(damaged, LIMITS)
    except ServiceError as error:
        assert error.code.name == "INVALID_ARGUMENT"
    else:
        assert planes.ndim == 3
