"""What the stored values of a TIFF image mean: colour tables, greys that are stored inverted, alpha, orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
import tifffile
from cellserve_contract.warnings import Warnings
from numpy.typing import NDArray

from .exif import UPRIGHT
from .losses import alpha_ignored, orientation_ignored, planes_ignored
from .tiff_directories import damaged

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_UNSPECIFIED, _ALPHAS = 0, (1, 2)  # TIFF ExtraSamples
_ORIENTATION = 274
_SMOOTH_STEP = 16  # of 255, between neighbouring entries of a colour table


def colour_table(file: tifffile.TiffFile, page: Any, axes: str) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """Returns the colours of an image with a palette.

    The values of an ImageJ file are intensities, and its table is a display setting, unless neighbouring entries differ
    so much that the values cannot be intensities. The tables of the planes of a stack are display settings, too.

    Args:
        file: The file.
        page: First page of the image.
        axes: Axes of the image.

    Returns:
        [entry, 3]; [entry, 1] if all entries are grey; uint8 if that holds them. None: the values are intensities.

    Raises:
        ImageError: The table is missing.
    """
    if page.photometric != _PHOTOMETRIC.PALETTE or axes != "YX":
        return None
    if page.colormap is None:
        raise damaged("its colour table is missing")
    table: NDArray[np.uint16] = np.asarray(page.colormap, np.uint16).T
    bytes_of_table = (table >> 8).astype(np.uint8)
    if file.is_imagej and _is_smooth(bytes_of_table):
        return None
    if np.all(table == table[:, :1]):
        table, bytes_of_table = table[:, :1], bytes_of_table[:, :1]
    low = table & 0xFF
    return bytes_of_table if np.all(low == bytes_of_table) or not low.any() else table


def is_inverted(page: Any, dtype: np.dtype[Any]) -> bool:
    """Tells whether 0 is white: the brightest value. Only whole numbers without sign have a largest value.

    tifffile calls the 0 of all boolean arrays white, whatever they mean, and reads them as they were.
    """
    kinds = "u" if page.software.startswith("tifffile") else "bu"
    return page.photometric == _PHOTOMETRIC.MINISWHITE and dtype.kind in kinds


def inverted(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Returns the intensities of an image whose value 0 is white, in the memory of the values."""
    if pixels.dtype == bool:
        np.logical_not(pixels, out=pixels)
    else:
        np.subtract(pixels.dtype.type((1 << page.bitspersample) - 1), pixels, out=pixels)
    return pixels


def colours(page: Any, samples: int) -> int:
    """Returns how many samples of a pixel are left without alpha."""
    extra = tuple(page.extrasamples)
    if extra and extra[-1] in _ALPHAS:
        return samples - 1
    if page.photometric == _PHOTOMETRIC.RGB and samples == 4 and extra in ((), (_UNSPECIFIED,)):
        return 3  # a fourth sample after red, green and blue
    return samples


def left_out(page: Any, samples: NDArray[Any]) -> Warnings:
    """Returns the warning about the samples beyond the colours; none for upright, opaque images.

    Args:
        page: First page of the image.
        samples: The last sample of each pixel.
    """
    extra = tuple(page.extrasamples)
    return alpha_ignored(samples) if extra and extra[-1] in _ALPHAS else planes_ignored(samples)


def orientation(page: Any) -> Warnings:
    """Returns the warning about the orientation of the image."""
    tag = page.tags.get(_ORIENTATION)
    value = tag.value if tag is not None and isinstance(tag.value, int) else UPRIGHT
    return orientation_ignored(value if 1 <= value <= 8 else UPRIGHT)


def _is_smooth(table: NDArray[np.uint8]) -> bool:
    """Tells whether colours change little from entry to entry, as in tables that are made for looking at intensities.

    Such tables may mark their first and last entry by other colours.
    """
    steps = np.abs(np.diff(table.astype(np.int16), axis=0)).max(axis=1)
    return float(np.median(steps)) <= _SMOOTH_STEP
