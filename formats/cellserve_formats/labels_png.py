"""Label images as 16-bit grey PNG files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .files import write_bytes
from .image import PixelSize
from .png import png_bytes

MOST_OBJECTS = 65535


def labels_png_bytes(labels: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns a label image as a PNG file of uint16, whatever the type of the labels.

    Args:
        labels: Unsigned integers [Y, X], 0 is background.
        pixel_size: That of the segmented image, micrometres.

    Raises:
        ImageError: IMAGE_TOO_LARGE if a label is above 65,535.
    """
    count = int(labels.max(initial=0))
    if count > MOST_OBJECTS:
        raise ImageError(
            f"a PNG file holds {MOST_OBJECTS:,} objects, the labels go up to {count:,}; write a TIFF file",
            "IMAGE_TOO_LARGE",
            resource="objects",
            value=count,
            limit=MOST_OBJECTS,
        )
    return png_bytes(labels.astype(np.uint16, copy=False), pixel_size)


def write_labels_png(path: str | os.PathLike[str], labels: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes a label image as a PNG file; arguments and errors as in `labels_png_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, labels_png_bytes(labels, pixel_size))
