"""Types of pixels that the service takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from cellserve_contract.packing import IMAGE_DTYPES
from numpy.typing import NDArray

from .errors import ImageError

_INTEGERS = ("u1", "u2", "i2", "u4")


def dtype_of_all(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Returns the type of `IMAGE_DTYPES`, in native byte order, that holds all values of a type.

    Whole numbers of 64 bits beyond 2^53 are rounded to float64.

    Raises:
        ImageError: DATA_TYPE_UNSUPPORTED: values of the type are not real numbers.
    """
    return image_dtype(_extremes(dtype) if dtype.kind in "iu" else np.empty(0, dtype))


def _extremes(dtype: np.dtype[Any]) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.array([limits.min, limits.max], dtype)


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
