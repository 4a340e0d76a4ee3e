"""Label images as TIFF files."""

from __future__ import annotations

import io
import os
from typing import Any

from numpy.typing import NDArray

from .files import replacing
from .image import PixelSize
from .tiff import write_tiff


def labels_tiff_bytes(
    labels: NDArray[Any],
    pixel_size: PixelSize | None = None,
    axes: str = "YX",
    frame_interval_s: float | None = None,
) -> bytes:
    """Returns a label image as a deflate-compressed TIFF file; ImageJ opens several planes as a stack or hyperstack.

    Args:
        labels: uint16 or uint32, one axis per letter of `axes`.
        pixel_size: That of the segmented image, micrometres; see `write_tiff`.
        axes: "YX", "ZYX", "TYX" or "TZYX".
        frame_interval_s: Seconds between the time points of the segmented series; None where unknown.
    """
    buffer = io.BytesIO()
    write_tiff(buffer, labels, axes, pixel_size, frame_interval_s)
    return buffer.getvalue()


def write_labels_tiff(
    path: str | os.PathLike[str],
    labels: NDArray[Any],
    pixel_size: PixelSize | None = None,
    axes: str = "YX",
    frame_interval_s: float | None = None,
) -> None:
    """Writes a label image as a TIFF file; arguments as in `labels_tiff_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as file:
        write_tiff(file, labels, axes, pixel_size, frame_interval_s)
