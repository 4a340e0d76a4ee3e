"""Opens an image of any kind."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_contract.extras import naming_extra

from cellserve_formats.encoded import file_format
from cellserve_formats.errors import ImageError
from cellserve_formats.image import PixelSize
from cellserve_formats.read import read_image
from cellserve_formats.tiff_file import is_slide

from .arrays import array_source, dask_source
from .image import LazyImage, Source
from .tiff_source import tiff_source

MOST_OPEN = 8
"""Most images from other processes that a process keeps open."""


def open_image(
    source: Any,
    *,
    axes: str | None = None,
    pixel_size: PixelSize | None = None,
    series: int | None = None,
    as_stored: bool = False,
) -> LazyImage:
    """Opens an image that is read region by region.

    Args:
        source: A path, or an array of NumPy, Dask or Zarr. The path is that of an OME-Zarr image (0.4 and 0.5), an
            array in a Zarr store, a TIFF file (BigTIFF, OME and ImageJ files too), a slide (.svs, .ndpi, .scn, .bif),
            or a PNG or JPEG file.
        axes: Axes of an array, or of a file that does not name them itself. Other files ignore them.
        pixel_size: Micrometres; used instead of what the file states.
        series: Number of the image in a file that holds several, from 0. None: the only one.
        as_stored: True: the values in their own type, for label images.

    Returns:
        The image; close it, or use it in a `with` statement. It can be pickled: another process opens the same path.

    Raises:
        ImageError: The file is damaged, or of an unknown kind or version. It is empty, or holds several images or
            unnamed axes. Its pixels are not real numbers.
        MissingExtraError: A library that reads the file is not installed.
        OSError: The file cannot be read.
    """
    found = _source(source, axes, pixel_size, series, as_stored)
    if isinstance(source, str | os.PathLike):
        opened: Any = (
            _of_process,
            (_stamp(Path(source)), str(Path(source).absolute()), axes, pixel_size, series, as_stored),
        )
    else:
        again = functools.partial(open_image, axes=axes, pixel_size=pixel_size, series=series, as_stored=as_stored)
        opened = (again, (source,))
    return LazyImage(found, as_stored=as_stored, opened=opened)


@functools.lru_cache(MOST_OPEN)
def _of_process(
    stamp: tuple[int, ...],
    path: str,
    axes: str | None,
    pixel_size: PixelSize | None,
    series: int | None,
    as_stored: bool,
) -> LazyImage:
    """Returns an image that came from another process. It is opened once in a process, and stays open.

    Another stamp is another file, which took the place of the one that may be open.
    """
    return open_image(path, axes=axes, pixel_size=pixel_size, series=series, as_stored=as_stored)


def _stamp(path: Path) -> tuple[int, ...]:
    """Returns what changes when a file or folder is replaced or changed."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _source(source: Any, axes: str | None, pixel_size: PixelSize | None, series: int | None, as_stored: bool) -> Source:
    if isinstance(source, str | os.PathLike):
        return _file(Path(source), axes, pixel_size, series, as_stored)
    _check_only("an array", series)
    if isinstance(source, np.ndarray):
        return array_source(source, axes, pixel_size)
    if hasattr(source, "dask"):
        return dask_source(source, axes, pixel_size)
    if type(source).__module__.startswith("zarr."):
        from .zarr_source import zarr_array_source

        return zarr_array_source(source, axes, pixel_size)
    raise TypeError(f"an image is a path, or an array of NumPy, Dask or Zarr, not {type(source).__name__}")


def _file(path: Path, axes: str | None, pixel_size: PixelSize | None, series: int | None, as_stored: bool) -> Source:
    if path.is_dir():
        with naming_extra(f"The Zarr store {path.name}", "large"):
            from .zarr_source import zarr_source
        return zarr_source(path, axes, pixel_size, series)
    with path.open("rb") as file:
        kind = file_format(file.read(16))
    if kind is None:
        raise ImageError(
            "the file is no TIFF, PNG or JPEG file and no folder of a Zarr store; convert it to OME-Zarr or OME-TIFF, "
            "with bioformats2raw or bfconvert",
            "IMAGE_UNDECODABLE",
        )
    if kind != "tiff":
        return _small(path, axes, pixel_size, series, as_stored)
    if is_slide(path):
        with naming_extra(f"The slide {path.name}", "large"):
            from .slides import slide_source
        _check_only("a slide", series)
        return slide_source(path, pixel_size)
    return tiff_source(path, axes, pixel_size, series, as_stored)


def _check_only(what: str, series: int | None) -> None:
    if series:
        raise ImageError(f"{what} holds one image, number 0; there is no image {series}", "IMAGE_UNKNOWN", available=1)


def _small(path: Path, axes: str | None, pixel_size: PixelSize | None, series: int | None, as_stored: bool) -> Source:
    """Reads a PNG or JPEG file, which cannot be read in parts."""
    image = read_image(path, axes=axes, series=series, as_stored=as_stored)
    source = array_source(image.pixels, image.axes, pixel_size or image.pixel_size)
    return dataclasses.replace(source, name=image.name, warnings=image.warnings)
