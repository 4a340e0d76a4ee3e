"""Time points of images that are read region by region: Zarr stores and slides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellserve_formats.errors import ImageError
from cellserve_formats.image import Image
from cellserve_formats.limits import Limits

from .image_file import Contents, Position, check_size

if TYPE_CHECKING:
    from cellserve_formats.lazy import LazyImage


class Regions:
    """Images of which one is open at a time.

    Args:
        places: Path of each image, and its number there; None: the only one.
        axes: Axes that the caller names, if any.
        limits: Largest time point taken.
    """

    def __init__(self, places: Sequence[tuple[Path, int | None]], axes: str | None, limits: Limits) -> None:
        self._places = places
        self._axes = axes
        self._limits = limits
        self._open: tuple[int, LazyImage] | None = None

    def opened(self, number: int) -> LazyImage:
        """Opens an image. Errors as in `open_images`."""
        if self._open is None or self._open[0] != number:
            from cellserve_formats.lazy import open_image  # brings libraries that only these images need

            self.close()
            path, series = self._places[number]
            self._open = (number, open_image(path, axes=self._axes, series=series, as_stored=True))
        return self._open[1]

    def load(self, number: int, time_point: int) -> Image:
        """Reads a time point."""
        image = self.opened(number)
        check_size(image.axes, image.shape, image.dtype, self._limits)
        self._limits.check_one("bytes", math.prod(image.chunks) * image.dtype.itemsize)  # a chunk is unpacked whole
        region = [slice(time_point, time_point + 1) if letter == "T" else slice(None) for letter in image.axes]
        pixels = image.read(region)
        axes = image.axes
        if "T" in axes:
            pixels, axes = pixels.squeeze(axes.index("T")), axes.replace("T", "")
        return Image(pixels, axes, image.pixel_size, warnings=image.warnings)

    def close(self) -> None:
        """Closes the image that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def region_contents(path: Path, axes: str | None, limits: Limits) -> Contents:
    """Opens an array of Zarr or a slide; arguments and errors as in `open_images`."""
    regions = Regions([(path, None)], axes, limits)
    try:
        image = regions.opened(0)
        position = Position(
            0, "", image.axes, image.shape, image.dtype, image.channels, image.pixel_size, folder=image.folder
        )
    except ImageError as error:
        if error.reason != "AXES_UNKNOWN":
            raise
        position = Position(0, error=error)
    return Contents((position,), regions.load, (path,), regions.close)
