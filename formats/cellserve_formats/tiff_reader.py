"""TIFF files to pixels: plain, OME, ImageJ, BigTIFF, and what else tifffile knows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import tifffile

from . import tiff_values
from .channel_names import channel_names
from .errors import ImageError
from .files import FileBytes
from .frame_interval import frame_interval_s
from .image import Image, check_pixels
from .jpeg_reader import is_cut_off, jpeg_frame
from .limits import Limits
from .losses import tiles_missing
from .options import ReadOptions
from .pixel_size import pixel_size
from .tiff_directories import damaged
from .tiff_file import OpenImage, TiffSource, opened
from .tiff_layout import TimePoint, layout_of

# Codecs that unpack into the memory the tags announce, no more.
_CODECS = frozenset(
    getattr(tifffile.COMPRESSION, name)
    for name in ("NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA")
)
_UNCOMPRESSED = tifffile.COMPRESSION.NONE
_JPEG = tifffile.COMPRESSION.JPEG  # brings a size of its own, which is compared with the tags
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_GREY_OR_RGB = (_PHOTOMETRIC.MINISWHITE, _PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.RGB, _PHOTOMETRIC.PALETTE)
# Packed pixels read at a time. They take up to three times as much memory beside the image. Several threads need more.
_BUFFER_BYTES, _SHARED_BUFFER_BYTES = 1 << 20, 1 << 25


def read_tiff(source: TiffSource, limits: Limits, options: ReadOptions) -> Image:
    """Reads one image of a TIFF file; smaller copies of it (pyramids) and masks do not count.

    A palette becomes its colours (see `tiff_values.colour_table`). Greys whose value 0 is white are inverted. The
    pixels are in the order of the file, whatever orientation its tags state.

    Args:
        source: The file.
        limits: Largest image taken, compared with the tags of the file.
        options: As for `read_image`.

    Returns:
        Axes in the order of the file.

    Raises:
        ImageError: As `read_image`.
    """
    with translated(source), opened(source, limits, options.series) as image:
        return read_opened(image, source, limits, options)


@contextlib.contextmanager
def translated(source: TiffSource) -> Iterator[None]:
    """Turns the many ways in which damaged files fail inside the parser and the codecs into one ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and source.path is not None:  # another file of the set
            raise
        raise damaged() from error


def read_opened(
    image: OpenImage, source: TiffSource, limits: Limits, options: ReadOptions, time_point: TimePoint | None = None
) -> Image:
    """Reads an open image, or one of its time points.

    Args:
        image: The image.
        source: The file.
        limits: Largest image taken; of a time series of which one time point is read, that time point.
        options: As for `read_image`.
        time_point: The time point; None: all of the image.

    Returns:
        Pixels in the type of the file. A time point has no axis T.

    Raises:
        ImageError: As `read_image`.
    """
    series, page, layout = image.series, image.series.keyframe, layout_of(image, options)
    axes, lengths = layout.stored, layout.lengths
    if time_point is not None:
        at = axes.index("T")
        axes, lengths = axes.replace("T", ""), (*lengths[:at], *lengths[at + 1 :])
    table = layout.table
    length = dict(zip(axes, lengths, strict=True))
    if "S" in length or table is not None:
        length["S"] = layout.samples if table is None else table.shape[1]
    stacked = math.prod(length.get(letter, 1) for letter in "TZ")
    channels = math.prod(length.get(letter, 1) for letter in "CS")
    limits.check(channels, length["Y"], length["X"], layout.dtype.itemsize, stacked)
    parts = series.pages if time_point is None else time_point.parts(series)
    _check_storage(series, parts, math.prod(lengths), source, limits)
    buffer = _BUFFER_BYTES if options.threads == 1 else _SHARED_BUFFER_BYTES
    if time_point is None:
        pixels = series.asarray(maxworkers=options.threads, buffersize=buffer)
    else:
        pixels = time_point.read(image, options.threads, buffer)
    pixels = pixels.reshape(lengths)
    warnings = tiff_values.orientation(page) + tiles_missing(parts)
    if "S" in axes and layout.samples < lengths[axes.index("S")]:
        at = axes.index("S")
        before = (slice(None),) * at
        warnings += tiff_values.left_out(page, pixels[(*before, -1)])
        pixels = pixels[(*before, slice(layout.samples))]
        if layout.samples == 1:
            pixels, axes = pixels.squeeze(at), axes.replace("S", "")
    if table is not None:
        pixels = table[pixels]
        pixels, axes = (pixels[:, :, 0], axes) if table.shape[1] == 1 else (pixels, axes + "S")
    elif not options.as_stored and tiff_values.is_inverted(page, pixels.dtype):
        pixels = tiff_values.inverted(pixels, page)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    check_pixels(pixels)
    return Image(
        pixels,
        axes,
        pixel_size(image.file, page, image.ome),
        source.path.name if source.path else "",
        warnings,
        frame_interval_s(image.file, image.ome) if "T" in layout.axes else None,
        channel_names(image.file, series, layout.axes, layout.shape, image.ome),
    )


def check_colours(page: Any) -> None:
    """Checks that an image is grey or RGB. Raises ImageError with reason IMAGE_UNDECODABLE."""
    if page.photometric not in _GREY_OR_RGB and not (
        page.compression == _JPEG and page.photometric == _PHOTOMETRIC.YCBCR
    ):
        raise ImageError(
            f"the colours of the TIFF file are stored as {_name(page.photometric)}; save it as grey or RGB",
            "IMAGE_UNDECODABLE",
        )


def check_parts(series: Any, pages: Any = None) -> None:
    """Checks that the strips of an image are there, and some of its tiles. Raises ImageError IMAGE_UNDECODABLE.

    Args:
        series: The image.
        pages: Those of its pages that are checked; None: all.
    """
    for part in series.pages if pages is None else pages:
        there = [bool(offset and size) for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True)]
        if not (any(there) if series.keyframe.is_tiled else all(there)):  # slide scanners leave out empty tiles
            raise damaged("parts of a plane are not there")


def _check_storage(series: Any, parts: Any, values: int, source: TiffSource, limits: Limits) -> None:
    """Checks how pixels are stored: codec, colour space, parts that are there, and the memory to unpack them."""
    page = series.keyframe
    if page.compression not in _CODECS and page.compression != _JPEG:
        raise ImageError(
            f"the TIFF file is compressed with {_name(page.compression)}; "
            "save it uncompressed, or with LZW, Deflate, Zstandard or JPEG",
            "IMAGE_UNDECODABLE",
        )
    check_colours(page)
    itemsize = series.dtype.itemsize
    limits.check_one("bytes", values * itemsize)
    limits.check_one("bytes", len(parts) * page.nbytes)
    if page.is_tiled:  # a tile can be larger than the image, and is unpacked whole
        limits.check_one("pixels", page.tilelength * page.tilewidth)
        limits.check_one("bytes", math.prod(page.chunks) * itemsize)
    if page.compression != _UNCOMPRESSED:
        limits.check_one("bytes_per_strip", math.prod(page.chunks) * itemsize)
    check_parts(series, parts)
    _check_packed(parts, limits)
    if page.compression == _JPEG:
        if series.is_multifile:
            raise ImageError(
                "the image is spread over several files with JPEG inside; save it as one file", "IMAGE_UNDECODABLE"
            )
        _check_jpeg(page, parts, source.data)


def _check_packed(parts: Any, limits: Limits) -> None:
    """Checks places and sizes of packed strips and tiles on disk: memory is taken for them before they are read."""
    packed = 0
    for part in parts:
        file = part.parent.filehandle
        if not file.is_file:
            continue
        packed += sum(part.databytecounts)
        if max(*part.dataoffsets, *part.databytecounts, 0) > file.size:
            raise damaged("a strip or tile of it is not in the file")
    if packed > 2 * limits.bytes:
        limits.check_one("bytes", packed)


def _name(code: Any) -> str:
    """Returns the name of a code of TIFF, or its number if it has none."""
    return str(getattr(code, "name", code))


def _check_jpeg(page: Any, parts: Any, data: FileBytes) -> None:
    """Checks that every JPEG stream is whole, and not larger than its tile or strip."""
    view = memoryview(data)
    height, width = page.chunks[-3:-1] if page.planarconfig == 1 and page.samplesperpixel > 1 else page.chunks[-2:]
    for part in parts:
        for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True):
            if not size:
                continue
            frame = jpeg_frame(view[offset : offset + size])
            too_large = frame is None or frame.height > height or frame.width > width or frame.samples > 4
            if too_large or is_cut_off(bytes(view[offset : offset + size])):
                raise damaged("a JPEG tile in it is damaged, cut off, or larger than its tags say")
