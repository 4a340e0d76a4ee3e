"""Image files at the gateway: its limits and its errors."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_gateway.app.files import ImageFiles, _Memory
from cellserve_gateway.errors import ImageTooLarge, InvalidImage, ServiceError
from cellserve_gateway.settings import Settings
from cellserve_parallel import CancellationToken, WorkCancelledError


@pytest.fixture(scope="module")
def files() -> Iterator[ImageFiles]:
    settings = Settings(max_image_pixels=1_000_000, max_image_bytes=4_000_000, max_channels=4)
    with contextlib.closing(ImageFiles(settings)) as files:
        yield files


def tiff_bytes(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


GREY = np.arange(99, dtype=np.uint16).reshape(9, 11)
COLOUR = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (tiff_bytes(GREY, compression="zlib"), "tiff", GREY[None]),
        (tiff_bytes(COLOUR, photometric="rgb"), "tiff", np.moveaxis(COLOUR, -1, 0)),
        (tiff_bytes(np.stack([GREY] * 2), imagej=True, metadata={"axes": "CYX"}), "tiff", np.stack([GREY] * 2)),
        (imagecodecs.png_encode(GREY), "png", GREY[None]),
        (imagecodecs.png_encode(COLOUR), "png", np.moveaxis(COLOUR, -1, 0)),
    ],
)
def test_files(files, data, kind, expected):
    planes = files.decode(data, CancellationToken(), kind).planes
    np.testing.assert_array_equal(planes, expected)
    assert planes.dtype == expected.dtype


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (imagecodecs.png_encode(GREY), "tiff", "IMAGE_UNDECODABLE"),
        (tiff_bytes(GREY), "png", "IMAGE_UNDECODABLE"),
        (tiff_bytes(GREY)[:30], "tiff", "IMAGE_UNDECODABLE"),
        (tiff_bytes(np.zeros((5, 9, 11), np.uint8), imagej=True, metadata={"axes": "TYX"}), "tiff", "AXES_UNKNOWN"),
        (tiff_bytes(np.zeros((9, 11), np.complex64)), "tiff", "DATA_TYPE_UNSUPPORTED"),
        (tiff_bytes(np.full((9, 11), np.inf, np.float32)), "tiff", "PIXELS_NOT_FINITE"),
        (tiff_bytes(np.zeros((1001, 1000), np.uint8), compression="zlib"), "tiff", "IMAGE_TOO_LARGE"),
    ],
)
def test_files_that_are_refused(files, data, kind, expected):
    with pytest.raises(ServiceError) as error:
        files.decode(data, CancellationToken(), kind)
    assert error.value.reason == expected
    assert isinstance(error.value, ImageTooLarge if expected == "IMAGE_TOO_LARGE" else InvalidImage)
    assert error.value.code.name == "INVALID_ARGUMENT"


def test_the_memory_of_pixels_is_shared():
    memory = _Memory(100)
    with memory.held(60, pytest.fail), memory.held(40, pytest.fail):
        cancelled = CancellationToken()
        threading.Timer(0.1, cancelled.cancel).start()
        with pytest.raises(WorkCancelledError), memory.held(1, cancelled.raise_if_cancelled):
            pytest.fail("no memory is free")
    with memory.held(1000, pytest.fail):  # alone, and larger than the limit
        pass
