"""Arrays on the wire: axes, types, bytes."""

from __future__ import annotations

import zlib

import cellserve
import numpy as np
import pytest
from cellserve import EncodedImage, Image
from cellserve.images import decode_array, describe_image, with_axes
from cellserve_contract.payload import Detached
from cellserve_formats import PixelSize
from cellserve_proto import v1 as pb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .scripted_server import pack, unpack


def encode_image(image, axes, packing):
    """The image as a server receives it."""
    message = pb.Image()
    return pb.Image.FromString(Detached(message, *describe_image(message, with_axes(image, axes), packing)).serialize())


def test_ambiguous_axes_are_refused():
    with pytest.raises(cellserve.InvalidRequestError, match="give axes='CYX'") as caught:
        encode_image(np.zeros((2, 64, 64)), None, "none")
    assert caught.value.reason == "AXES_UNKNOWN"


@pytest.mark.parametrize("axes", ["QYX", "YYX", "yx", "CX"])
def test_axes_that_do_not_exist(axes):
    with pytest.raises(cellserve.InvalidRequestError, match=r"distinct letters|must be among them") as caught:
        encode_image(np.zeros((3, 4, 5)[: len(axes)]), axes, "none")
    assert caught.value.reason == "AXES_UNKNOWN"


@pytest.mark.parametrize("axes", ["ZYX", "TCZYX", "YXS", "XY", "SYX"])
def test_axes_of_all_letters_are_sent(axes):
    message = encode_image(np.zeros((1, 3, 4, 5, 6)[: len(axes)], np.uint8), axes, "none")
    assert message.raw.axes == axes


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_time_series_are_refused_here(axes):
    with pytest.raises(cellserve.InvalidRequestError, match=r"a time series .*segment_series") as caught:
        encode_image(np.zeros((2, 3, 4, 5)[: len(axes)], np.uint8), axes, "none")
    assert caught.value.reason == "AXES_UNKNOWN"


def test_axes_that_do_not_match():
    with pytest.raises(cellserve.InvalidRequestError, match="which are 3; the array has 2"):
        encode_image(np.zeros((4, 5)), "CYX", "none")


@pytest.mark.parametrize(
    ("dtype", "values", "sent"),
    [
        ("?", [0, 1], "uint8"),
        ("u1", [0, 255], "uint8"),
        ("u2", [0, 65535], "uint16"),
        (">u2", [0, 65535], "uint16"),
        ("u4", [0, 2**32 - 1], "uint32"),
        ("i2", [-(2**15), 2**15 - 1], "int16"),
        (">i2", [-(2**15), 2**15 - 1], "int16"),
        ("i1", [-128, 127], "int16"),
        ("i4", [0, 255], "uint8"),
        ("i4", [0, 256], "uint16"),
        ("i4", [-1, 300], "int16"),
        ("i4", [0, 65536], "uint32"),
        ("i4", [-40000, 0], "float64"),
        (">i8", [0, 2**32 - 1], "uint32"),
        ("i8", [0, 2**32], "float64"),
        ("u8", [0, 2**40], "float64"),
        ("f2", [0.5, -1], "float32"),
        ("f4", [0.1, 1e30], "float32"),
        (">f4", [0.1, 1e30], "float32"),
        ("f8", [0.1, 1e300], "float64"),
        ("g", [0.25, 1], "float64"),
    ],
)
def test_types(dtype, values, sent):
    pixels = np.array([values], dtype)
    message = encode_image(pixels, None, "none").raw
    assert pb.DataType.Name(message.pixels.data_type) == f"DATA_TYPE_{sent.upper()}"
    np.testing.assert_array_equal(unpack(message.pixels), pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), complex), np.array([["a", "b"]]), np.array([[None]]), [[1], [1, 2]]]
)
def test_types_that_cannot_be_sent(pixels):
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        encode_image(pixels, "YX", "none")
    assert caught.value.reason == "DATA_TYPE_UNSUPPORTED"


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.uint32, np.int16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.integers(0, 200),
    ),
    st.sampled_from(["none", "zlib"]),
    st.sampled_from([np.asarray, np.transpose, np.fliplr, lambda a: a[::2, ::3]]),
)
def test_round_trip_of_any_layout(pixels, compression, view):
    message = encode_image(view(pixels), None, compression).raw
    assert (message.pixels.compression == pb.COMPRESSION_ZLIB) == (compression == "zlib")
    returned = decode_array(message.pixels)
    np.testing.assert_array_equal(returned, view(pixels))
    assert returned.dtype == pixels.dtype
    assert returned.flags.writeable


def test_an_image_carries_its_axes():
    message = encode_image(Image(np.zeros((2, 3, 4), np.uint8), "CYX"), None, "none")
    assert (message.raw.axes, list(message.raw.pixels.shape)) == ("CYX", [2, 3, 4])


@pytest.mark.parametrize("size", [PixelSize(0.5, 0.25), PixelSize(0.5, 0.25, 2.0)])
def test_an_image_carries_its_pixel_size(size):
    message = encode_image(Image(np.zeros((3, 4), np.uint8), "YX", size), None, "none").pixel_size
    assert (message.y_um, message.x_um) == (size.y, size.x)
    assert (message.z_um if message.HasField("z_um") else None) == size.z


def test_encoded_images_go_as_they_are():
    for data, number in (
        (b"\x89PNG\r\n\x1a\nrest", pb.EncodedImage.FORMAT_PNG),
        (b"II*\0rest", pb.EncodedImage.FORMAT_TIFF),
        (b"\xff\xd8\xff rest", pb.EncodedImage.FORMAT_JPEG),
    ):
        message = encode_image(EncodedImage(data), None, "none")
        assert (message.encoded.format, message.encoded.data) == (number, data)
    with pytest.raises(cellserve.InvalidRequestError, match="neither TIFF nor PNG nor JPEG"):
        encode_image(EncodedImage(b"GIF89a"), None, "none")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pb.Array(data_type=99, shape=[1], data=b"1"), "data type 99"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT16, shape=[2, 2], data=b"1234567"), "7 bytes instead of 8"),
        (pb.Array(data_type=pb.DATA_TYPE_UINT16, shape=[2, 2], compression=pb.COMPRESSION_ZLIB, data=b"no"), "zlib"),
    ],
)
def test_answers_that_make_no_sense(array, message):
    with pytest.raises(ValueError, match=message):
        decode_array(array)


def test_a_bomb_is_not_unpacked():
    bomb = pack(np.zeros((2, 2), np.uint16))
    bomb.compression, bomb.data = pb.COMPRESSION_ZLIB, zlib.compress(bytes(50_000_000))
    with pytest.raises(ValueError, match="9 bytes instead of 8"):
        decode_array(bomb)


def test_alpha_of_a_guessed_rgba_image_is_not_sent():
    rgba = np.arange(10 * 12 * 4, dtype=np.uint8).reshape(10, 12, 4)
    message = encode_image(rgba, None, "none")
    assert list(message.raw.pixels.shape) == [10, 12, 3]
    np.testing.assert_array_equal(decode_array(message.raw.pixels), rgba[..., :3])
    assert list(encode_image(rgba, "YXC", "none").raw.pixels.shape) == [10, 12, 4], "named axes are taken as they are"
