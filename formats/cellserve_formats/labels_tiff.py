"""Label images as TIFF files."""

from __future__ import annotations

import os
from typing import Any

from numpy.typing import NDArray

from .files import write_bytes
from .image import PixelSize
from .tiff import tiff_bytes


def labels_tiff_bytes(labels: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns a label image as a deflate-compressed TIFF file.

    Args:
        labels: uint16 or uint32 [Y, X].
        pixel_size: That of the segmented image, micrometres; see `tiff_bytes`.
    """
    return tiff_bytes(labels, "YX", pixel_size)


def write_labels_tiff(path: str | os.PathLike[str], labels: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes a label image as a TIFF file; arguments as in `labels_tiff_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, labels_tiff_bytes(labels, pixel_size))
