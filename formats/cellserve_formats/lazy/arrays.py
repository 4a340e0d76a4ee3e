"""Arrays in memory, and arrays of Dask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellserve_formats.errors import ImageError
from cellserve_formats.image import PixelSize, guess_axes

from .image import Region, Source


def chosen_axes(shape: tuple[int, ...], axes: str | None) -> str:
    """Returns the axes that are named, or the only plausible ones: of a plane, of RGB and RGBA.

    Raises:
        ImageError: AXES_UNKNOWN if none are named and several are plausible.
    """
    try:
        return axes or guess_axes(shape)
    except ImageError:
        raise ImageError(
            f"the array of shape {shape} does not name its axes; name them, such as axes='{'TCZYX'[-len(shape) :]}' "
            "(--axes on the command line)",
            "AXES_UNKNOWN",
        ) from None


def array_source(array: NDArray[Any], axes: str | None, pixel_size: PixelSize | None) -> Source:
    """Describes an array in memory; arguments and errors as in `open_image`."""
    return Source(
        chosen_axes(array.shape, axes),
        array.shape,
        array.dtype,
        chunks=(1,) * (array.ndim - 1) + array.shape[-1:],
        load=lambda region: array[region],
        pixel_size=pixel_size,
    )


def dask_source(array: Any, axes: str | None, pixel_size: PixelSize | None) -> Source:
    """Describes an array of Dask; arguments and errors as in `open_image`.

    The thread that reads a region computes the region: callers bring the threads.
    """

    def load(region: Region) -> NDArray[Any]:
        return np.asarray(array[region].compute(scheduler="synchronous"))

    return Source(
        chosen_axes(array.shape, axes),
        tuple(map(int, array.shape)),
        array.dtype,
        chunks=tuple(int(max(lengths)) for lengths in array.chunks),
        load=load,
        pixel_size=pixel_size,
    )
