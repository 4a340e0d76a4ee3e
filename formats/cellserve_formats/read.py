"""The one reader of image files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from .dtypes import image_dtype
from .encoded import EncodedImage
from .errors import ImageError
from .files import read_bytes
from .image import Image
from .jpeg_reader import read_jpeg
from .limits import DEFAULT_LIMITS, Limits
from .options import ReadOptions
from .png_reader import read_png
from .tiff_file import TiffSource
from .tiff_reader import read_tiff


def read_image(
    source: bytes | str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    axes: str | None = None,
    stacks: bool = True,
    time_series: bool = True,
    threads: int | None = 1,
    series: int | None = None,
    as_stored: bool = False,
) -> Image:
    """Reads a TIFF (OME and ImageJ files too, BigTIFF), PNG or JPEG file, whatever its name ends in.

    An OME-TIFF image can be spread over several files. By the path of one of them, the planes in the other files of the
    same folder are read, too. The bytes of one of them are refused.

    Args:
        source: The bytes of the file, or its path.
        limits: Largest image taken. The file may have twice `limits.bytes`, because of smaller copies of the image.
        axes: Axes of a TIFF file that does not name them itself, without axes of length one. Other files ignore them.
        stacks: Whether z stacks are taken. If not, they are refused before their pixels are read.
        time_series: Whether time series are taken. If not, they are refused before their pixels are read.
        threads: Threads that decode a TIFF file. None takes half of the processor's.
        series: Number of the image in a TIFF file that holds several, from 0. None: the only one.
        as_stored: True: the values of the file in their own type, for label images. An image with a palette is its
            indices, and greys whose value 0 is white are not inverted.

    Returns:
        Finite pixels in native byte order. Their type is that of the file if it is one of
        `cellserve_contract.packing.IMAGE_DTYPES`, else one of these that holds the values. Axes of length one are
        dropped, except Y and X. Alpha is dropped. Colours are axis S. Pixel sizes are given where the file states
        plausible ones with their unit. Rows and columns are those of the file, whatever orientation the file states.
        Warnings name what was left out.

    Raises:
        ImageError: The file is damaged, too large or of an unknown kind. It is empty, or holds several images or
            unnamed axes. Its pixels are not real, finite numbers. A file of its set is missing.
        OSError: The file cannot be read.
    """
    image = decode_image(source, limits, ReadOptions(axes, stacks, time_series, threads, series, as_stored))
    if as_stored:
        return image
    return dataclasses.replace(image, pixels=image.pixels.astype(taken_dtype(image, limits), copy=False))


def decode_image(source: bytes | str | os.PathLike[str], limits: Limits, options: ReadOptions) -> Image:
    """Reads an image as `read_image` does, and leaves the pixels in the type of the file."""
    path = None
    if not isinstance(source, bytes):
        path = Path(source)
        data = read_bytes(path, 2 * limits.bytes)
        if data is None:
            raise ImageError(
                f"the file has more than {2 * limits.bytes:,} bytes", "IMAGE_TOO_LARGE", limit=2 * limits.bytes
            )
        source = data
    name = path.name if path else ""
    kind = EncodedImage(source).format
    if options.series and kind != "tiff":
        raise ImageError(
            f"a {kind.upper()} file holds one image, number 0; there is no image {options.series}",
            "IMAGE_UNKNOWN",
            available=1,
        )
    match kind:
        case "png":
            image = read_png(source, limits, name, as_stored=options.as_stored)
        case "jpeg":
            image = read_jpeg(source, limits, name)
        case "tiff":
            image = read_tiff(TiffSource(source, path), limits, options)
    return image


def taken_dtype(image: Image, limits: Limits) -> np.dtype[Any]:
    """Returns the type that `read_image` gives the pixels of a decoded image. Raises ImageError above a limit."""
    dtype = image_dtype(image.pixels)
    limits.check_one("bytes", image.pixels.size * dtype.itemsize)
    return dtype
