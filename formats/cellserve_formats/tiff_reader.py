"""TIFF files to pixels: plain, OME, ImageJ, BigTIFF, and what else tifffile knows."""

from __future__ import annotations

import math
from typing import Any

import tifffile
from cellserve_contract.axes import LETTERS

from . import tiff_values
from .errors import ImageError
from .files import FileBytes
from .frame_interval import frame_interval_s
from .image import Image, check_axes, check_flat, check_one_time_point, check_pixels
from .jpeg_reader import is_cut_off, jpeg_frame
from .limits import Limits
from .losses import tiles_missing
from .options import ReadOptions
from .pixel_size import pixel_size
from .tiff_directories import damaged
from .tiff_file import OpenImage, TiffSource, opened

# Codecs that unpack into the memory the tags announce, no more.
_CODECS = frozenset(
    getattr(tifffile.COMPRESSION, name)
    for name in ("NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA")
)
_UNCOMPRESSED = tifffile.COMPRESSION.NONE
_MOST_CHANNELS_LAST = 4  # tifffile writes an array [Y, X, C] as Y pages of X rows with C pixels each
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
    try:
        with opened(source, limits, options.series) as image:
            return _read(image, source, limits, options)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a damaged file fails in many ways inside the parser and the codecs
        if isinstance(error, OSError) and source.path is not None:  # another file of the set
            raise
        raise damaged() from error


def _read(image: OpenImage, source: TiffSource, limits: Limits, options: ReadOptions) -> Image:
    series, page = image.series, image.series.keyframe
    found = [(letter, length) for letter, length in zip(series.axes, series.shape, strict=True)]
    kept = [(letter, length) for letter, length in found if length != 1 or letter in "YX"]
    shape = tuple(length for _, length in kept)
    names = "".join(letter for letter, _ in kept)
    axes = known_axes(names, shape, options.axes)
    if not options.time_series:
        check_one_time_point(axes, shape)
    if not options.stacks:
        check_flat(axes, shape, assumed=axes not in (names, options.axes))
    if series.dtype is None or series.dtype.kind not in "biuf":
        raise ImageError(f"pixels of type {series.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
    table = None if options.as_stored else tiff_values.colour_table(image.file, page, axes)
    samples = tiff_values.colours(page, dict(found).get("S", 1))
    length = dict(zip(axes, shape, strict=True))
    if "S" in length or table is not None:
        length["S"] = samples if table is None else table.shape[1]
    itemsize = (series if table is None else table).dtype.itemsize
    stacked = math.prod(length.get(letter, 1) for letter in "TZ")
    channels = math.prod(length.get(letter, 1) for letter in "CS")
    limits.check(channels, length["Y"], length["X"], itemsize, stacked)
    _check_storage(series, page, source, limits)
    buffer = _BUFFER_BYTES if options.threads == 1 else _SHARED_BUFFER_BYTES
    pixels = series.asarray(maxworkers=options.threads, buffersize=buffer).reshape(shape)
    warnings = tiff_values.orientation(page) + tiles_missing(series.pages)
    if "S" in axes and samples < shape[axes.index("S")]:
        at = axes.index("S")
        before = (slice(None),) * at
        warnings += tiff_values.left_out(page, pixels[(*before, -1)])
        pixels = pixels[(*before, slice(samples))]
        if samples == 1:
            pixels, axes = pixels.squeeze(at), axes.replace("S", "")
    if table is not None:
        pixels = table[pixels]
        pixels, axes = (pixels[:, :, 0], axes) if table.shape[1] == 1 else (pixels, axes + "S")
    elif not options.as_stored and tiff_values.is_inverted(page, pixels.dtype):
        pixels = tiff_values.inverted(pixels, page)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    check_pixels(pixels)
    name = source.path.name if source.path else ""
    interval_s = frame_interval_s(image.file, image.ome) if "T" in axes else None
    return Image(pixels, axes, pixel_size(image.file, page, image.ome), name, warnings, interval_s)


def known_axes(found: str, shape: tuple[int, ...], given: str | None) -> str:
    """Returns the file's own axes if all are known, else the caller's. Pages without a name are planes of a z stack.

    Args:
        found: Axes of the file, as tifffile names them.
        shape: Their lengths.
        given: Axes that the caller names, if any.

    Raises:
        ImageError: AXES_UNKNOWN if several axes have no name, if rows are so short that they could be channels, or if
            the caller's axes do not fit.
    """
    unnamed = [letter for letter in found if letter not in LETTERS]
    axes = given if unnamed and given else found
    if len(unnamed) == 1 and not given and "Z" not in found and shape[found.index("X")] > _MOST_CHANNELS_LAST:
        axes = found.replace(unnamed[0], "Z")
    if len(axes) != len(shape) or not set(axes) <= set(LETTERS):
        such = "ZYX or CYX (planes first) or YXC (channels last)" if len(shape) == 3 else "TCZYX"[-len(shape) :]
        raise ImageError(
            f"the file does not say whether its planes are channels, z or time (axes {found}, shape {shape}); name its "
            f"{len(shape)} axes, such as {such}: --axes on the command line",
            "AXES_UNKNOWN",
        )
    check_axes(axes, len(shape))
    return axes


def check_colours(page: Any) -> None:
    """Checks that an image is grey or RGB. Raises ImageError with reason IMAGE_UNDECODABLE."""
    if page.photometric not in _GREY_OR_RGB and not (
        page.compression == _JPEG and page.photometric == _PHOTOMETRIC.YCBCR
    ):
        raise ImageError(
            f"the colours of the TIFF file are stored as {_name(page.photometric)}; save it as grey or RGB",
            "IMAGE_UNDECODABLE",
        )


def check_parts(series: Any) -> None:
    """Checks that the strips of an image are there, and some of its tiles. Raises ImageError IMAGE_UNDECODABLE."""
    for part in series.pages:
        there = [bool(offset and size) for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True)]
        if not (any(there) if series.keyframe.is_tiled else all(there)):  # slide scanners leave out empty tiles
            raise damaged("parts of a plane are not there")


def _check_storage(series: Any, page: Any, source: TiffSource, limits: Limits) -> None:
    """Checks how the pixels are stored: codec, colour space, parts that are there, and the memory to unpack them."""
    if page.compression not in _CODECS and page.compression != _JPEG:
        raise ImageError(
            f"the TIFF file is compressed with {_name(page.compression)}; "
            "save it uncompressed, or with LZW, Deflate, Zstandard or JPEG",
            "IMAGE_UNDECODABLE",
        )
    check_colours(page)
    itemsize = series.dtype.itemsize
    limits.check_one("bytes", math.prod(series.shape) * itemsize)
    limits.check_one("bytes", len(series.pages) * page.nbytes)
    if page.is_tiled:  # a tile can be larger than the image, and is unpacked whole
        limits.check_one("pixels", page.tilelength * page.tilewidth)
        limits.check_one("bytes", math.prod(page.chunks) * itemsize)
    if page.compression != _UNCOMPRESSED:
        limits.check_one("bytes_per_strip", math.prod(page.chunks) * itemsize)
    check_parts(series)
    if page.compression == _JPEG:
        if series.is_multifile:
            raise ImageError(
                "the image is spread over several files with JPEG inside; save it as one file", "IMAGE_UNDECODABLE"
            )
        _check_jpeg(series, page, source.data)


def _name(code: Any) -> str:
    """Returns the name of a code of TIFF, or its number if it has none."""
    return str(getattr(code, "name", code))


def _check_jpeg(series: Any, page: Any, data: FileBytes) -> None:
    """Checks that every JPEG stream is whole, and not larger than its tile or strip."""
    view = memoryview(data)
    height, width = page.chunks[-3:-1] if page.planarconfig == 1 and page.samplesperpixel > 1 else page.chunks[-2:]
    for part in series.pages:
        for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True):
            if not size:
                continue
            frame = jpeg_frame(view[offset : offset + size])
            too_large = frame is None or frame.height > height or frame.width > width or frame.samples > 4
            if too_large or is_cut_off(bytes(view[offset : offset + size])):
                raise damaged("a JPEG tile in it is damaged, cut off, or larger than its tags say")
