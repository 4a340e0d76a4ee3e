"""The one reader of image files."""

from __future__ import annotations

import os
from pathlib import Path

from .encoded import EncodedImage
from .errors import ImageError
from .files import read_bytes
from .image import Image
from .jpeg_reader import read_jpeg
from .limits import DEFAULT_LIMITS, Limits
from .png_reader import read_png
from .tiff_reader import read_tiff


def read_image(
    source: bytes | str | os.PathLike[str],
    *,
    limits: Limits = DEFAULT_LIMITS,
    axes: str | None = None,
    stacks: bool = True,
    threads: int | None = 1,
) -> Image:
    """Reads a TIFF (OME and ImageJ files too, BigTIFF), PNG or JPEG file, whatever its name ends in.

    Args:
        source: The bytes of the file, or its path.
        limits: Largest image taken. The file may have twice `limits.bytes`, because of smaller copies of the image.
        axes: Axes of a TIFF file that does not name them itself, without axes of length one. Other files ignore them.
        stacks: Whether stacks and time series are taken. If not, they are refused before their pixels are read.
        threads: Threads that decode a TIFF file. None takes half of the processor's.

    Returns:
        Pixels in the type of the file, native byte order, finite. Axes of length one are dropped, except Y and X. Alpha
        is dropped. Colours are axis S. Pixel sizes are given where the file states plausible ones with their unit.

    Raises:
        ImageError: The file is damaged, too large or of an unknown kind. It is empty, or holds several images or
            unnamed axes. Its pixels are not real, finite numbers.
        OSError: The file cannot be read.
    """
    name = ""
    if not isinstance(source, bytes):
        path = Path(source)
        name = path.name
        data = read_bytes(path, 2 * limits.bytes)
        if data is None:
            raise ImageError(
                f"the file has more than {2 * limits.bytes:,} bytes", "IMAGE_TOO_LARGE", limit=2 * limits.bytes
            )
        source = data
    match EncodedImage(source).format:
        case "png":
            return read_png(source, limits, name)
        case "jpeg":
            return read_jpeg(source, limits, name)
        case "tiff":
            return read_tiff(source, limits, name, axes=axes, stacks=stacks, threads=threads)
