"""Raw arrays to pixels, within the gateway's limits."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from cellserve_formats import Limits
from cellserve_gateway.app import decode
from cellserve_gateway.errors import ImageTooLarge, InvalidImage, ServiceError
from cellserve_gateway.settings import Settings

LIMITS = Limits(pixels=1_000_000, bytes=8_000_000, planes=4)
UINT8 = np.dtype(np.uint8)


def reason(error: pytest.ExceptionInfo[ServiceError]) -> str:
    return error.value.reason


@pytest.mark.parametrize("dtype", decode.IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize(("axes", "shape"), [("YX", (5, 7)), ("CYX", (2, 5, 7)), ("YXC", (5, 7, 2))])
@pytest.mark.parametrize("compressed", [False, True])
def test_raw_round_trip(dtype, axes, shape, compressed):
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype.newbyteorder("<"))
    data = zlib.compress(pixels.tobytes()) if compressed else pixels.tobytes()
    planes = decode.from_array(data, compressed, decode.Layout(dtype, shape, axes), LIMITS).planes
    expected = {"YX": pixels[None], "CYX": pixels, "YXC": np.moveaxis(pixels, -1, 0)}.get(axes)
    np.testing.assert_array_equal(planes, expected)
    assert planes.dtype == dtype


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_byte_count_must_fit(extra, compressed):
    data = zlib.compress(bytes(35 + extra)) if compressed else bytes(35 + extra)
    with pytest.raises(InvalidImage) as error:
        decode.from_array(data, compressed, decode.Layout(UINT8, (5, 7), "YX"), LIMITS)
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
        ((5, 7, 2), "YZX", "AXES_UNKNOWN"),
        ((0, 5, 7), "ZYX", "IMAGE_EMPTY"),
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
        decode.from_array(b"", False, decode.Layout(UINT8, shape, axes), LIMITS)
    assert reason(error) == expected


def test_limits_are_exact():
    layout = decode.Layout(UINT8, (1000, 1000), "YX")
    assert decode.from_array(bytes(1_000_000), False, layout, LIMITS).planes.shape == (1, 1000, 1000)
    tight = Limits(pixels=1_000_000, bytes=999_999, planes=4)
    with pytest.raises(ImageTooLarge) as error:
        decode.from_array(bytes(1_000_000), False, layout, tight)
    assert error.value.metadata == {"resource": "bytes", "value": "1000000", "limit": "999999"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e31])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_must_be_finite(bad, dtype):
    pixels = np.zeros((4, 4), dtype)
    pixels[1, 2] = bad
    with pytest.raises(InvalidImage) as error:
        decode.from_array(pixels.tobytes(), False, decode.Layout(np.dtype(dtype), (4, 4), "YX"), LIMITS)
    assert reason(error) == "PIXELS_NOT_FINITE"
    assert error.value.metadata["pixels"] == "1"


def test_zlib_bomb_stays_small():
    bomb = zlib.compress(bytes(500_000_000))
    with pytest.raises(InvalidImage) as error:
        decode.from_array(bomb, True, decode.Layout(UINT8, (10, 10), "YX"), LIMITS)
    assert reason(error) == "IMAGE_SIZE_MISMATCH"


def test_not_zlib():
    with pytest.raises(InvalidImage) as error:
        decode.from_array(b"not zlib", True, decode.Layout(UINT8, (10, 10), "YX"), LIMITS)
    assert reason(error) == "IMAGE_UNDECODABLE"


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data + b"more"])
def test_zlib_stream_must_be_whole(change):
    with pytest.raises(InvalidImage) as error:
        decode.from_array(change(zlib.compress(bytes(35))), True, decode.Layout(UINT8, (5, 7), "YX"), LIMITS)
    assert reason(error) == "IMAGE_UNDECODABLE"


def test_the_limits_are_those_of_the_settings():
    settings = Settings(max_image_pixels=5, max_image_bytes=7, max_channels=3, max_stack_planes=11, max_stack_voxels=13)
    limits = decode.limits_of(settings)
    assert (limits.pixels, limits.bytes, limits.channels, limits.planes, limits.voxels) == (5, 7, 3, 33, 13)
    assert limits.pages < 10_000
    assert limits.metadata_bytes < 2**24
