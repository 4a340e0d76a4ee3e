"""Pictures as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from .files import write_bytes

_LEVEL = 6


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """Returns a PNG file.

    Args:
        pixels: uint8 or uint16, [Y, X] or [Y, X, 3].
    """
    # A copy, because the encoder refuses contiguous arrays whose axes of length one have odd strides.
    return bytes(imagecodecs.png_encode(pixels.copy(), level=_LEVEL))


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Writes a PNG file; arguments as in `png_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, png_bytes(pixels))
