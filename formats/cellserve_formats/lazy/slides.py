"""Whole slides (.svs, .ndpi, .scn, .bif and Philips' TIFF), by tiffslide."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiffslide import TiffSlide

from cellserve_formats.errors import ImageError
from cellserve_formats.image import PixelSize
from cellserve_formats.losses import tiles_missing
from cellserve_formats.pixel_size import plausible_size
from cellserve_formats.tiff_directories import damaged

from .image import Region, Source
from .tiff_source import check_length


def slide_source(path: Path, pixel_size: PixelSize | None) -> Source:
    """Opens a slide at its full resolution; arguments and errors as in `open_image`."""
    slide = None
    try:
        slide = TiffSlide(path)
        return _source(slide, path, pixel_size)
    except BaseException as error:
        if slide is not None:
            slide.close()
        if isinstance(error, ImageError | OSError | MemoryError) or not isinstance(error, Exception):
            raise
        raise ImageError(
            f"the slide cannot be opened ({type(error).__name__}: {error})", "IMAGE_UNDECODABLE"
        ) from error


def _source(slide: TiffSlide, path: Path, pixel_size: PixelSize | None) -> Source:
    facts = slide.properties
    series = slide.ts_tifffile.series[facts.get("tiffslide.series-index") or 0]
    check_length(series, path)
    width, height = slide.dimensions
    first = slide.read_region((0, 0), 0, (1, 1), as_array=True)
    samples = first.shape[2]
    y, x = (float(facts.get(f"tiffslide.mpp-{axis}") or math.nan) for axis in "yx")

    def load(region: Region) -> NDArray[Any]:
        rows, columns, colours = region
        size = (columns.stop - columns.start, rows.stop - rows.start)
        try:
            pixels = slide.read_region((columns.start, rows.start), 0, size, as_array=True)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # codecs fail in many ways on damaged bytes
            raise damaged(
                f"its tiles at rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop} are damaged "
                f"({type(error).__name__}: {error})"
            ) from error
        return np.asarray(pixels)[:, :, colours]

    tile = (facts.get("tiffslide.level[0].tile-height"), facts.get("tiffslide.level[0].tile-width"))
    return Source(
        "YXS",
        (height, width, samples),
        first.dtype,
        chunks=(min(tile[0] or height, height), min(tile[1] or width, width), samples),
        load=load,
        levels=tuple((rows, columns) for columns, rows in slide.level_dimensions),
        pixel_size=pixel_size or plausible_size(y, x, math.nan),
        name=path.name,
        warnings=tiles_missing(series.pages),
        close=slide.close,
    )
