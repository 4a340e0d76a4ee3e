"""Arrays as TIFF files."""

from __future__ import annotations

import io
from typing import Any

import tifffile
from numpy.typing import NDArray

from .image import PixelSize

_MICROMETRES_PER_CENTIMETRE = 1e4


def tiff_bytes(pixels: NDArray[Any], axes: str, pixel_size: PixelSize | None = None) -> bytes:
    """Returns an array as a deflate-compressed TIFF file.

    The pixel size goes into the tags XResolution and YResolution, pixels per centimetre, which ImageJ, Bio-Formats and
    QuPath read.

    Args:
        pixels: An array of a type that TIFF has. Floating-point numbers are packed as they are, because ImageJ does not
            read their predictor.
        axes: One letter per axis.
        pixel_size: Micrometres.
    """
    options: dict[str, Any] = {}
    if pixel_size is not None:
        per_centimetre = [_MICROMETRES_PER_CENTIMETRE / size for size in (pixel_size.x, pixel_size.y)]
        options = {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
    buffer = io.BytesIO()
    predictor = pixels.dtype.kind != "f"
    tifffile.imwrite(
        buffer,
        pixels,
        photometric="minisblack",  # three planes are no colours
        compression="zlib",
        predictor=predictor,
        metadata={"axes": axes},
        **options,
    )
    return buffer.getvalue()
