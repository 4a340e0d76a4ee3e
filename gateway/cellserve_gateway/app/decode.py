"""Raw arrays to pixels, and the limits and errors of all images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.packing import IMAGE_DTYPES, PackingError, inflate
from cellserve_contract.warnings import Warnings
from cellserve_formats import Image, ImageError, Limits, PixelSize, check_pixels, stack
from numpy.typing import NDArray

from cellserve_gateway.errors import ImageTooLarge, InvalidImage
from cellserve_gateway.settings import MIB, Settings

Pixels = NDArray[np.generic]

AXES = ("YX", "CYX", "YXC", "ZYX", "ZYXC", "ZCYX", "CZYX")
MAX_TIFF_PAGES = 1000
MAX_TIFF_METADATA_BYTES = 8 * MIB  # 2 million strips
MAX_TIFF_STRIP_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image ready for the pipeline.

    Attributes:
        pixels: [Z, C, Y, X] of one of IMAGE_DTYPES, without alpha, finite. Z is 1 for an image that is no stack.
        warnings: What the reader of its file left out or did not heed.
        pixel_size: As the file states it. None: unknown.
    """

    pixels: Pixels
    warnings: Warnings = ()
    pixel_size: PixelSize | None = None

    @property
    def planes(self) -> Pixels:
        """[C, Y, X], the channels of an image that is no stack."""
        assert not self.is_stack
        only: Pixels = self.pixels[0]
        return only

    @property
    def is_stack(self) -> bool:
        """Whether the image has several planes along Z."""
        return len(self.pixels) > 1

    @classmethod
    def of(cls, image: Image) -> Decoded:
        """Returns the pixels of an image, and what its reader says of it. Raises InvalidImage for a time series."""
        with translated_image_errors():
            return cls(stack(image), image.warnings, image.pixel_size)


def limits_of(settings: Settings) -> Limits:
    """Returns the limits that the settings name."""
    return Limits(
        settings.max_image_pixels,
        settings.max_image_bytes,
        settings.max_channels,
        settings.max_channels * settings.max_stack_planes,
        settings.max_stack_voxels,
        MAX_TIFF_PAGES,
        MAX_TIFF_METADATA_BYTES,
        MAX_TIFF_STRIP_BYTES,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """What is said of a raw image.

    Attributes:
        dtype: One of IMAGE_DTYPES.
        shape: Length of each axis.
        axes: One of AXES.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    axes: str

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Planes of a stack (1 for an image that is none), channels, rows and columns."""
        length = dict(zip(self.axes, self.shape, strict=True))
        return length.get("Z", 1), length.get("C", 1), length["Y"], length["X"]

    def check(self, limits: Limits) -> int:
        """Checks the axes, and compares the size with the limits.

        Returns:
            Bytes of the image once unpacked.

        Raises:
            InvalidImage: Unknown axes, or an empty axis.
            ImageTooLarge: The image exceeds a limit.
        """
        if self.axes not in AXES:
            raise InvalidImage(
                f"axes '{self.axes[:32]}' are unknown; use one of {', '.join(AXES)}",
                reason="AXES_UNKNOWN",
                allowed=",".join(AXES),
            )
        if len(self.shape) != len(self.axes):
            raise InvalidImage(
                f"the shape has {len(self.shape)} axes, '{self.axes}' names {len(self.axes)}",
                reason="IMAGE_SIZE_MISMATCH",
            )
        with translated_image_errors():
            planes, channels, height, width = self.size
            return limits.check(channels, height, width, self.dtype.itemsize, planes)


def from_array(data: bytes | memoryview, compressed: bool, layout: Layout, limits: Limits) -> Decoded:
    """Returns a raw image.

    Args:
        data: Elements in C order, little-endian; one zlib stream if compressed.
        compressed: Whether `data` is a zlib stream.
        layout: What is said of the image.
        limits: Largest image taken.

    Returns:
        Planes of the layout's type, a view of `data` where possible.

    Raises:
        InvalidImage: As `Layout.check`; a byte count that does not fit, or pixels that are not finite.
        ImageTooLarge: The image exceeds a limit.
    """
    expected = layout.check(limits)
    if compressed:
        try:
            data = inflate(data, expected)
        except PackingError as error:
            raise InvalidImage(str(error), reason="IMAGE_UNDECODABLE") from error
    if len(data) != expected:
        raise InvalidImage(
            f"{'x'.join(map(str, layout.shape))} of {layout.dtype} are {expected:,} bytes; {len(data):,}"
            f"{' or more' if compressed and len(data) > expected else ''} came",
            reason="IMAGE_SIZE_MISMATCH",
            expected_bytes=expected,
        )
    pixels = np.frombuffer(data, layout.dtype.newbyteorder("<")).reshape(layout.shape)
    with translated_image_errors():
        check_pixels(pixels)
    return Decoded.of(Image(pixels, layout.axes))


def unsupported_dtype(name: str, taken: Sequence[np.dtype[Any]] = IMAGE_DTYPES) -> InvalidImage:
    """Returns the error for a pixel type that is not among those taken."""
    allowed = ", ".join(map(str, taken))
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
