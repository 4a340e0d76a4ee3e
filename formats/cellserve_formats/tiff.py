"""Arrays as TIFF files."""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .image import PixelSize

_MICROMETRES_PER_CENTIMETRE = 1e4
_ORDER_OF_IMAGEJ = "TZCYX"
_MOST_CLASSIC_BYTES = (1 << 32) - (1 << 25)  # of pixels, packed or not: a file beyond 4 GiB has to be BigTIFF
_ORIENTATION = (274, "H", 1, 1, True)


def tiff_bytes(
    pixels: NDArray[Any], axes: str, pixel_size: PixelSize | None = None, frame_interval_s: float | None = None
) -> bytes:
    """Returns an array as a TIFF file; arguments as in `write_tiff`."""
    buffer = io.BytesIO()
    write_tiff(buffer, pixels, axes, pixel_size, frame_interval_s)
    return buffer.getvalue()


def write_tiff(
    file: IO[bytes],
    pixels: NDArray[Any],
    axes: str,
    pixel_size: PixelSize | None = None,
    frame_interval_s: float | None = None,
) -> None:
    """Writes an array as a deflate-compressed TIFF file, without a predictor: ImageJ heeds none beside deflate.

    A stack or a time series is written as ImageJ writes them: one page per plane in the order TZCYX. The description
    has the pixel size (micrometres) and the frame interval (seconds). The pixel size of other images goes into the tags
    XResolution and YResolution, pixels per centimetre, which ImageJ, Bio-Formats and QuPath read. Arrays of nearly
    4 GiB or more become BigTIFF, which ImageJ opens by Bio-Formats.

    Args:
        file: Open for writing; can be sought.
        pixels: An array of a type that TIFF has.
        axes: One letter of TZCYX per axis.
        pixel_size: Micrometres.
        frame_interval_s: Seconds between time points, for arrays with axis T.
    """
    if set(axes) & set("TZ"):
        order = [letter for letter in _ORDER_OF_IMAGEJ if letter in axes]
        pixels = np.transpose(pixels, [axes.index(letter) for letter in order])
        options = _as_imagej(pixels.shape, "".join(order), pixel_size, frame_interval_s)
    else:
        options = {"metadata": {"axes": axes}}
        if pixel_size is not None:
            per_centimetre = [_MICROMETRES_PER_CENTIMETRE / size for size in (pixel_size.x, pixel_size.y)]
            options |= {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
    # Three planes are no colours.
    options |= {"photometric": "minisblack", "compression": "zlib", "predictor": False}
    tifffile.imwrite(file, pixels, bigtiff=pixels.nbytes > _MOST_CLASSIC_BYTES, **options)


def _as_imagej(
    shape: tuple[int, ...], axes: str, pixel_size: PixelSize | None, frame_interval_s: float | None
) -> dict[str, Any]:
    """Returns the options of a file that ImageJ opens as a stack. tifffile's own mode has no labels of 32 bits."""
    facts: dict[str, Any] = {}
    options: dict[str, Any] = {"metadata": None}
    if pixel_size is not None:
        facts = {"unit": "micron"} | ({"spacing": pixel_size.z} if pixel_size.z is not None else {})
        options |= {"resolution": (1 / pixel_size.x, 1 / pixel_size.y), "resolutionunit": "NONE"}
    if frame_interval_s is not None and "T" in axes:
        facts["finterval"] = frame_interval_s
    options["description"] = tifffile.imagej_description(shape, axes, **facts)
    options["extratags"] = [_ORIENTATION]  # has old versions of ImageJ look at all pages
    return options
