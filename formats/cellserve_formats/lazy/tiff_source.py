"""TIFF files on the local disk: BigTIFF, tiled TIFF, OME-TIFF and ImageJ files."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_contract.extras import naming_extra
from cellserve_contract.warnings import Warnings
from numpy.typing import NDArray

from cellserve_formats import tiff_values
from cellserve_formats.channel_names import channel_names
from cellserve_formats.errors import ImageError
from cellserve_formats.files import map_bytes
from cellserve_formats.image import PixelSize
from cellserve_formats.limits import DEFAULT_LIMITS
from cellserve_formats.losses import tiles_missing
from cellserve_formats.pixel_size import pixel_size as stated_pixel_size
from cellserve_formats.tiff_directories import damaged
from cellserve_formats.tiff_file import OpenImage, TiffSource, opened
from cellserve_formats.tiff_layout import known_axes
from cellserve_formats.tiff_reader import check_colours, check_parts

from .image import Region, Source, rows_and_columns
from .plain_file import PlainFile

MOST_CHUNK_BYTES = 1 << 29
"""Most bytes of a compressed strip or tile once unpacked: it is unpacked whole."""


def tiff_source(
    path: Path, axes: str | None, pixel_size: PixelSize | None, series: int | None, as_stored: bool
) -> Source:
    """Opens a TIFF file; arguments and errors as in `open_image`."""
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(opened(TiffSource(map_bytes(path), path), DEFAULT_LIMITS, series))
            source = _stored(image, path, axes, stack)
            source = source if as_stored else _intensities(source, image)
            return dataclasses.replace(
                source,
                levels=rows_and_columns(image.series.axes, (level.shape for level in image.series.levels)),
                pixel_size=pixel_size or stated_pixel_size(image.file, image.series.keyframe, image.ome),
                name=path.name,
                warnings=_warnings(image),
                channels=channel_names(image.file, image.series, source.axes, source.shape, image.ome),
                close=stack.pop_all().close,
            )
        except (ImageError, ImportError, MemoryError, OSError):
            raise
        except Exception as error:  # a damaged file fails in many ways inside the parser
            raise damaged() from error


def _stored(image: OpenImage, path: Path, given: str | None, stack: contextlib.ExitStack) -> Source:
    """Returns the values of the file, without alpha."""
    series, page = image.series, image.series.keyframe
    axes, shape = known_axes(series.axes, series.shape, given), tuple(map(int, series.shape))
    if series.dtype is None or series.dtype.kind not in "biuf":
        raise ImageError(f"pixels of type {series.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
    check_colours(page)
    check_parts(series)
    if not series.is_multifile:
        check_length(series, path)
    source = _plain(series, path, axes, stack) or _packed(series, path, axes, stack)
    if "S" in axes:
        at = axes.index("S")
        kept = tiff_values.colours(page, shape[at])
        source = dataclasses.replace(source, shape=(*shape[:at], kept, *shape[at + 1 :]))
    return source


def check_length(series: Any, path: Path) -> None:
    """Checks that the file does not end before its strips or tiles do. Raises ImageError IMAGE_UNDECODABLE."""
    size = path.stat().st_size
    for page in series.pages:
        ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise damaged("it is cut off: strips or tiles of it are not there")


def _plain(series: Any, path: Path, axes: str, stack: contextlib.ExitStack) -> Source | None:
    """Returns the values of a file that has them as they are, plane after plane; None if it is packed or has tiles."""
    page, shape = series.keyframe, tuple(map(int, series.shape))
    inner = next((at for at in range(len(shape)) if math.prod(shape[at:]) == page.size), None)
    if inner is None or not page.is_final or series.is_multifile:
        return None
    dtype = series.dtype.newbyteorder(page.parent.byteorder)
    if series.dataoffset is not None:
        planes = math.prod(shape[:inner])
        offsets = series.dataoffset + np.arange(planes, dtype=np.int64) * (page.size * dtype.itemsize)
    else:
        offsets = np.array([part.dataoffsets[0] for part in series.pages], np.int64)
    file = stack.enter_context(PlainFile(path, offsets.reshape(shape[:inner]), shape[inner:], dtype))
    row = min(axes.index("Y"), axes.index("X"))
    return Source(axes, shape, series.dtype, chunks=(1,) * (row + 1) + shape[row + 1 :], load=file.read)


def _packed(series: Any, path: Path, axes: str, stack: contextlib.ExitStack) -> Source:
    """Returns the values of compressed strips or of tiles."""
    with naming_extra(f"The compressed or tiled TIFF file {path.name}", "large"):
        import zarr

        from .zarr_source import Loader
    unpacked = math.prod(series.keyframe.chunks) * series.dtype.itemsize
    if unpacked > MOST_CHUNK_BYTES:
        raise ImageError(
            f"a strip or tile of the TIFF file has {unpacked:,} bytes once unpacked; the limit is "
            f"{MOST_CHUNK_BYTES:,}: save the image with tiles, such as 512 x 512 pixels",
            "IMAGE_TOO_LARGE",
            resource="bytes_per_strip",
            value=unpacked,
            limit=MOST_CHUNK_BYTES,
        )
    store = series.aszarr(level=0)
    stack.callback(store.close)
    array = zarr.open_array(store, mode="r", zarr_format=2)
    if array.shape != tuple(series.shape):
        raise damaged(f"its planes have the shape {array.shape} instead of {tuple(series.shape)}")
    load = Loader(array, chunk="the strip or tile {} of the TIFF file")
    return Source(axes, array.shape, np.dtype(series.dtype), chunks=array.chunks, load=load)


def _intensities(source: Source, image: OpenImage) -> Source:
    """Returns palettes as colours, and greys whose value 0 is white as intensities."""
    page = image.series.keyframe
    long = "".join(
        letter for letter, length in zip(source.axes, source.shape, strict=True) if length > 1 or letter in "YX"
    )
    table = tiff_values.colour_table(image.file, page, long)

    def colours(region: Region) -> NDArray[Any]:
        assert table is not None
        of_pixels: NDArray[Any] = table[source.load(region[:-1])][..., region[-1]]
        return of_pixels

    def inverted(region: Region) -> NDArray[Any]:
        return tiff_values.inverted(np.array(source.load(region), source.dtype), page)

    if table is not None:
        samples = table.shape[1]
        return dataclasses.replace(
            source,
            axes=source.axes + "S",
            shape=(*source.shape, samples),
            dtype=table.dtype,
            chunks=(*source.chunks, samples),
            load=colours,
        )
    if tiff_values.is_inverted(page, source.dtype):
        return dataclasses.replace(source, load=inverted)
    return source


def _warnings(image: OpenImage) -> Warnings:
    return tiff_values.orientation(image.series.keyframe) + tiles_missing(image.series.pages)
