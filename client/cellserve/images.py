"""Images on their way to the server: axes, pixel types, bytes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from cellserve_contract.arrays import Packing, describe_array, view_array
from cellserve_contract.warnings import Warnings
from cellserve_formats import (
    EncodedImage,
    Image,
    ImageError,
    alpha_ignored,
    check_one_time_point,
    guess_axes,
    image_dtype,
)
from cellserve_proto import v1 as pb
from numpy.typing import ArrayLike, NDArray

from .errors import from_image_error, refusal
from .params import SegmentOptions, SegmentParams

_FILE_FORMATS = {
    "png": pb.EncodedImage.FORMAT_PNG,
    "tiff": pb.EncodedImage.FORMAT_TIFF,
    "jpeg": pb.EncodedImage.FORMAT_JPEG,
}


# An array (or what NumPy makes one of), pixels with their axes, the bytes of a file, or the path of a file to read
# here.
ImageLike = ArrayLike | Image | EncodedImage | str | os.PathLike[str]


def of_volume(image: ImageLike, params: SegmentParams | None, options: SegmentOptions) -> SegmentOptions:
    """Returns the keywords of a call about a stack: what is left open is a volume, its arrays begin with Z."""
    filled = SegmentOptions(**options)
    if "stack_mode" not in options and (params is None or params.stack_mode is None):
        filled["stack_mode"] = "volume"
    if "axes" not in options and not isinstance(image, Image | EncodedImage | str | os.PathLike):
        filled["axes"] = {3: "ZYX", 4: "ZCYX"}.get(np.ndim(image))
    return filled


def with_axes(image: ArrayLike | Image | EncodedImage, axes: str | None) -> Image | EncodedImage:
    """Names the axes of an array; other images are returned as they are.

    Args:
        image: An array, pixels with their axes, or the bytes of a file.
        axes: Axes of an array; None guesses them. A guessed RGBA image loses its alpha.

    Raises:
        InvalidRequestError: The axes are ambiguous or unknown.
    """
    if isinstance(image, Image | EncodedImage):
        return image
    pixels = _asarray(image)
    warnings: Warnings = ()
    try:
        if not axes:
            axes = guess_axes(pixels.shape)
            if axes == "YXS" and pixels.shape[2] == 4:
                pixels, warnings = pixels[..., :3], alpha_ignored(pixels[..., 3])
        return Image(pixels, axes, warnings=warnings)
    except ImageError as error:
        raise from_image_error(error) from error


def describe_image(
    message: pb.Image, image: Image | EncodedImage, packing: Packing
) -> tuple[tuple[str, ...], bytes | memoryview]:
    """Fills all of an image's message but its bytes.

    Args:
        message: Empty.
        image: Pixels with their axes, or the bytes of a file.
        packing: "none" or "zlib".

    Returns:
        The fields that lead to the bytes, and the bytes: the image's own memory where possible.

    Raises:
        InvalidRequestError: The pixels are not real numbers, the image is a time series, or the file is unknown.
    """
    if isinstance(image, EncodedImage):
        message.encoded.format = _file_format(image)
        return ("encoded", "data"), image.data
    try:
        check_one_time_point(image.axes, image.pixels.shape)
    except ImageError as error:
        raise from_image_error(error) from error
    if image.pixel_size is not None:
        message.pixel_size.y_um, message.pixel_size.x_um = image.pixel_size.y, image.pixel_size.x
        if image.pixel_size.z is not None:
            message.pixel_size.z_um = image.pixel_size.z
    message.raw.axes = image.axes
    return ("raw", "pixels", "data"), describe_array(message.raw.pixels, _sendable(image.pixels), packing)


def decode_array(array: pb.Array, data: bytes | memoryview | None = None) -> NDArray[Any]:
    """Unpacks an array of an answer.

    Args:
        array: The message.
        data: The bytes of the array if they came apart from the message.

    Returns:
        A writable array of its own, in native byte order.

    Raises:
        ValueError: Unknown type or packing, or bytes that do not match the shape.
    """
    view = view_array(array, data)
    return view.astype(view.dtype.newbyteorder("="))


def _file_format(image: EncodedImage) -> pb.EncodedImage.Format:
    try:
        return _FILE_FORMATS[image.format]
    except ImageError as error:
        raise from_image_error(error) from error


def _asarray(image: ArrayLike) -> NDArray[Any]:
    if isinstance(image, bytes | bytearray):
        raise refusal("the image is bytes; EncodedImage(data) takes the bytes of a file", "DATA_TYPE_UNSUPPORTED")
    try:
        return np.asarray(image)
    except (TypeError, ValueError) as error:
        raise refusal(f"the image is no array: {error}", "DATA_TYPE_UNSUPPORTED") from error


def _sendable(pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns the pixels in a little-endian type of the contract that holds their values, as they are where possible.

    Booleans and bytes have the same memory.
    """
    try:
        dtype = image_dtype(pixels)
    except ImageError as error:
        raise from_image_error(error) from error
    if pixels.dtype == bool:
        return pixels.view(np.uint8)
    return pixels.astype(dtype.newbyteorder("<"), copy=False)
