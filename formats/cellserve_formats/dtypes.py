"""Types of pixels that the service takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from cellserve_contract.packing import IMAGE_DTYPES
from numpy.typing import NDArray

from .errors import ImageError

_INTEGERS = ("u1", "u2", "i2", "u4")


def image_dtype(pixels: NDArray[Any]) -> np.dtype[Any]:
    """Returns the type of `IMAGE_DTYPES`, in native byte order, that an image gets.

    Args:
        pixels: Any shape.

    Returns:
        The type of the pixels if the service takes the type. uint8 for booleans. For other whole numbers the smallest
        type that holds all values, float64 if none does. float32 or float64 for other floating-point numbers.

    Raises:
        ImageError: DATA_TYPE_UNSUPPORTED: the pixels are not real numbers.
    """
    dtype = pixels.dtype.newbyteorder("=")
    if dtype in IMAGE_DTYPES:
        return dtype
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype.kind in "iu":
        low, high = (int(pixels.min()), int(pixels.max())) if pixels.size else (0, 0)
        fitting = (name for name in _INTEGERS if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
        return np.dtype(next(fitting, "f8"))
    if dtype.kind == "f":
        return np.dtype("f4" if dtype.itemsize < 4 else "f8")
    raise ImageError(f"pixels of type {pixels.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
