"""Raw arrays to pixels, and the limits and errors of all images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from cellserve_contract.packing import IMAGE_DTYPES, PackingError, inflate
from cellserve_contract.warnings import Warnings
from cellserve_formats import Image, ImageError, Limits, PixelSize, check_pixels, planes
from numpy.typing import NDArray

from cellserve_gateway.errors import ImageTooLarge, InvalidImage
from cellserve_gateway.settings import MIB, Settings

Pixels = NDArray[np.generic]

AXES = ("YX", "CYX", "YXC")
MAX_TIFF_PAGES = 1000
MAX_TIFF_METADATA_BYTES = 8 * MIB  # 2 million strips
MAX_TIFF_STRIP_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image ready for the pipeline.

    Attributes:
        planes: [C, Y, X] of one of IMAGE_DTYPES, without alpha, finite.
        warnings: What the reader of its file left out or did not heed.
        pixel_size: As the file states it. None: unknown.
    """

    planes: Pixels
    warnings: Warnings = ()
    pixel_size: PixelSize | None = None

    @classmethod
    def of(cls, image: Image) -> Decoded:
        """Returns the planes of an image, and what its reader says of it. Raises InvalidImage for a stack."""
        with translated_image_errors():
            return cls(planes(image), image.warnings, image.pixel_size)


def limits_of(settings: Settings) -> Limits:
    """Returns the limits that the settings name."""
    return Limits(
        settings.max_image_pixels,
        settings.max_image_bytes,
        settings.max_channels,
        MAX_TIFF_PAGES,
        MAX_TIFF_METADATA_BYTES,
        MAX_TIFF_STRIP_BYTES,
    )


def from_array(
    data: bytes | memoryview,
    compressed: bool,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    axes: str,
    limits: Limits,
) -> Decoded:
    """Returns a raw image.

    Args:
        data: Elements in C order, little-endian; one zlib stream if compressed.
        compressed: Whether `data` is a zlib stream.
        dtype: One of IMAGE_DTYPES.
        shape: Length of each axis.
        axes: One of AXES.
        limits: Largest image taken.

    Returns:
        Planes of `dtype`, a view of `data` where possible.

    Raises:
        InvalidImage: Unknown axes, an empty axis, a byte count that does not fit, or pixels that are not finite.
        ImageTooLarge: It exceeds a limit.
    """
    if axes not in AXES:
        raise InvalidImage(
            f"axes '{axes[:32]}' are unknown; use one of {', '.join(AXES)}",
            reason="AXES_UNKNOWN",
            allowed=",".join(AXES),
        )
    if len(shape) != len(axes):
        raise InvalidImage(f"the shape has {len(shape)} axes, '{axes}' names {len(axes)}", reason="IMAGE_SIZE_MISMATCH")
    length = dict(zip(axes, shape, strict=True))
    with translated_image_errors():
        expected = limits.check(length.get("C", 1), length["Y"], length["X"], dtype.itemsize)
    if compressed:
        try:
            data = inflate(data, expected)
        except PackingError as error:
            raise InvalidImage(str(error), reason="IMAGE_UNDECODABLE") from error
    if len(data) != expected:
        raise InvalidImage(
            f"{'x'.join(map(str, shape))} of {dtype} are {expected:,} bytes; {len(data):,}"
            f"{' or more' if compressed and len(data) > expected else ''} came",
            reason="IMAGE_SIZE_MISMATCH",
            expected_bytes=expected,
        )
    pixels = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
    with translated_image_errors():
        check_pixels(pixels)
    return Decoded.of(Image(pixels, axes))


def unsupported_dtype(name: str) -> InvalidImage:
    """Returns the error for a pixel type that is not taken."""
    allowed = ", ".join(map(str, IMAGE_DTYPES))
    return InvalidImage(
        f"pixels of type {name} are not taken; use {allowed}", reason="DATA_TYPE_UNSUPPORTED", allowed=allowed
    )


@contextlib.contextmanager
def translated_image_errors() -> Iterator[None]:
    """Turns the error of an image into the gateway's."""
    try:
        yield
    except ImageError as error:
        kind = ImageTooLarge if error.reason == "IMAGE_TOO_LARGE" else InvalidImage
        raise kind(error.message, reason=error.reason, **error.metadata) from error
