"""Label images as TIFF files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray

from .files import write_bytes
from .image import PixelSize

_MICROMETRES_PER_CENTIMETRE = 1e4


def labels_tiff_bytes(labels: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns a label image as a deflate-compressed TIFF file.

    The pixel size goes into the tags XResolution and YResolution, pixels per centimetre, which ImageJ, Bio-Formats and
    QuPath read.

    Args:
        labels: uint16 or uint32 [Y, X].
        pixel_size: That of the segmented image, micrometres.
    """
    options: dict[str, Any] = {}
    if pixel_size is not None:
        per_centimetre = [_MICROMETRES_PER_CENTIMETRE / size for size in (pixel_size.x, pixel_size.y)]
        options = {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels, compression="zlib", predictor=True, metadata={"axes": "YX"}, **options)
    return buffer.getvalue()


def write_labels_tiff(path: Path, labels: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes a label image as a TIFF file; arguments as in `labels_tiff_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, labels_tiff_bytes(labels, pixel_size))
