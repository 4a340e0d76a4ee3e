"""Bands of rows: the parts of an image that threads share."""

from __future__ import annotations

BAND_PIXELS = 1 << 16
"""Pixels of a band: a few milliseconds of work. Threads then finish together, and cancellation takes effect soon."""


def bands(shape: tuple[int, ...], pixels: int = BAND_PIXELS, multiple: int = 1) -> list[tuple[int, int]]:
    """Cut the rows of an image [Y, X] into bands.

    Args:
        shape: shape of the image; only the first two numbers count.
        pixels: approximate number of pixels of a band.
        multiple: the number of rows of every band but the last is a multiple of this number.

    Returns:
        The first row and the end row (exclusive) of each band, from top to bottom.
    """
    rows = max(1, pixels // max(1, shape[1]) // multiple) * multiple
    return [(first, min(first + rows, shape[0])) for first in range(0, shape[0], rows)]
