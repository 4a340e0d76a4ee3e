"""TIFF files to pixels: plain, OME, ImageJ, BigTIFF, and what else tifffile knows."""

from __future__ import annotations

import io
import math
from typing import Any
from xml.etree import ElementTree

import tifffile
from cellserve_contract.axes import LETTERS

from .errors import ImageError
from .image import Image, check_axes, check_flat, check_pixels
from .jpeg_reader import jpeg_frame
from .limits import Limits
from .pixel_size import pixel_size
from .tiff_directories import check_directories, damaged

# Codecs that unpack into the memory the tags announce, no more.
_CODECS = frozenset(
    getattr(tifffile.COMPRESSION, name)
    for name in ("NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA")
)
_JPEG = tifffile.COMPRESSION.JPEG  # brings a size of its own, which is compared with the tags
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_GREY_OR_RGB = (_PHOTOMETRIC.MINISWHITE, _PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.RGB, _PHOTOMETRIC.PALETTE)
# Packed pixels read at a time. They take up to three times as much memory beside the image. Several threads need more.
_BUFFER_BYTES, _SHARED_BUFFER_BYTES = 1 << 20, 1 << 25
_UNSPECIFIED, _ALPHAS = 0, (1, 2)  # TIFF ExtraSamples


def read_tiff(
    data: bytes,
    limits: Limits,
    name: str = "",
    *,
    axes: str | None = None,
    stacks: bool = True,
    threads: int | None = 1,
) -> Image:
    """Reads the only image of a TIFF file; smaller copies of it (pyramids) and masks do not count.

    Values are those of the file: indices of a palette stay indices, because microscopes use palettes for display.

    Args:
        data: The file.
        limits: Largest image taken, compared with the tags of the file.
        name: Name of the image.
        axes: As for `read_image`.
        stacks: As for `read_image`.
        threads: As for `read_image`.

    Returns:
        Axes in the order of the file.

    Raises:
        ImageError: As `read_image`.
    """
    check_directories(data, limits)
    try:
        # The parsers of these two formats follow tables that nothing bounds. OME or ImageJ metadata beside are read.
        with tifffile.TiffFile(io.BytesIO(data), is_mmstack=False, is_ndtiff=False) as file:
            return _read(file, data, limits, name, axes, stacks, threads)
    except ImageError:
        raise
    except Exception as error:  # a damaged file fails in many ways inside the parser and the codecs
        raise damaged() from error


def _read(
    file: tifffile.TiffFile,
    data: bytes,
    limits: Limits,
    name: str,
    given: str | None,
    stacks: bool,
    threads: int | None,
) -> Image:
    ome = _ome_root(file, limits)
    images = [series for series in file.series if not (series.keyframe.is_reduced or series.keyframe.is_mask)]
    if not images:
        raise damaged("it holds no image")
    if len(images) > 1:
        raise ImageError(f"the TIFF file holds {len(images)} images; save the one to segment", "AXES_UNKNOWN")
    series = images[0]
    page: Any = series.keyframe
    found = [(letter, length) for letter, length in zip(series.axes, series.shape, strict=True)]
    kept = [(letter, length) for letter, length in found if length != 1 or letter in "YX"]
    shape = tuple(length for _, length in kept)
    axes = _known_axes("".join(letter for letter, _ in kept), shape, given)
    if not stacks:
        check_flat(axes, shape)
    if series.dtype is None or series.dtype.kind not in "biuf":
        raise ImageError(f"pixels of type {series.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
    samples = _colours(page, dict(found).get("S", 1))
    length = dict(zip(axes, shape, strict=True))
    if "S" in length:
        length["S"] = samples
    limits.check(
        math.prod(length.values()) // max(1, length["Y"] * length["X"]), length["Y"], length["X"], series.dtype.itemsize
    )
    _check_storage(series, page, data, limits)
    buffer = _BUFFER_BYTES if threads == 1 else _SHARED_BUFFER_BYTES
    pixels = series.asarray(maxworkers=threads, buffersize=buffer).reshape(shape)
    if "S" in axes and samples < shape[axes.index("S")]:
        at = axes.index("S")
        pixels = pixels[(slice(None),) * at + (slice(samples),)]
        if samples == 1:
            pixels, axes = pixels.squeeze(at), axes.replace("S", "")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    check_pixels(pixels)
    return Image(pixels, axes, pixel_size(file, page, ome), name)


def _known_axes(found: str, shape: tuple[int, ...], given: str | None) -> str:
    """Returns the file's own axes if all are known, else the caller's."""
    if set(found) <= set(LETTERS):
        check_axes(found, len(shape))
        return found
    if given and len(given) == len(shape):
        check_axes(given, len(shape))
        return given
    raise ImageError(
        f"axes {found} of shape {shape} could be channels, z or time; if channels, say axes CYX", "AXES_UNKNOWN"
    )


def _colours(page: Any, samples: int) -> int:
    """Returns how many samples of a pixel are left without alpha."""
    extra = tuple(page.extrasamples)
    if extra and extra[-1] in _ALPHAS:
        return samples - 1
    if page.photometric == _PHOTOMETRIC.RGB and samples == 4 and extra in ((), (_UNSPECIFIED,)):
        return 3  # a fourth sample after red, green and blue
    return samples


def _check_storage(series: Any, page: Any, data: bytes, limits: Limits) -> None:
    """Checks how the pixels are stored: codec, colour space, and the memory that unpacking takes."""
    if any(part is None for part in series.pages):
        raise damaged("parts of it are missing, or in other files")
    if page.compression not in _CODECS and page.compression != _JPEG:
        raise ImageError(
            f"the TIFF file is compressed with {_name(page.compression)}; "
            "save it uncompressed, or with LZW, Deflate, Zstandard or JPEG",
            "IMAGE_UNDECODABLE",
        )
    if page.photometric not in _GREY_OR_RGB and not (
        page.compression == _JPEG and page.photometric == _PHOTOMETRIC.YCBCR
    ):
        raise ImageError(
            f"the colours of the TIFF file are stored as {_name(page.photometric)}; save it as grey or RGB",
            "IMAGE_UNDECODABLE",
        )
    itemsize = series.dtype.itemsize
    limits.check_one("bytes", math.prod(series.shape) * itemsize)
    limits.check_one("bytes", len(series.pages) * page.nbytes)
    if page.is_tiled:  # a tile can be larger than the image, and is unpacked whole
        limits.check_one("pixels", page.tilelength * page.tilewidth)
        limits.check_one("bytes", math.prod(page.chunks) * itemsize)
    if page.compression == _JPEG:
        _check_jpeg(series, page, data)


def _name(code: Any) -> str:
    """Returns the name of a code of TIFF, or its number if it has none."""
    return str(getattr(code, "name", code))


def _check_jpeg(series: Any, page: Any, data: bytes) -> None:
    """Checks that no JPEG stream is larger than its tile or strip."""
    view = memoryview(data)
    height, width = page.chunks[-3:-1] if page.planarconfig == 1 and page.samplesperpixel > 1 else page.chunks[-2:]
    for part in series.pages:
        for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True):
            frame = jpeg_frame(view[offset : offset + size]) if size else None
            if size and (frame is None or frame.height > height or frame.width > width or frame.samples > 4):
                raise damaged("a JPEG tile in it is damaged, or larger than its tags say")


def _ome_root(file: tifffile.TiffFile, limits: Limits) -> ElementTree.Element | None:
    """Returns the OME-XML of a file, its counts checked: the parser makes lists as long as they say.

    Returns None for documents that are not well-formed, which the parser ignores.
    """
    text = file.ome_metadata if file.is_ome else None
    if not text:
        return None
    if "<!ENTITY" in text:
        raise damaged("its OME-XML defines entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    # A sound file has each plane once in the sizes of an image and once in TiffData.
    described, most = sum(_described_planes(element, len(file.pages)) for element in root.iter()), 4 * limits.pages
    if described > most:
        raise ImageError(
            f"the OME-XML describes {described:,} planes; the limit is {most:,}",
            "IMAGE_TOO_LARGE",
            resource="pages",
            value=described,
            limit=most,
        )
    return root


def _described_planes(element: ElementTree.Element, pages: int) -> int:
    """Returns how many planes an element of OME-XML stands for."""
    attributes, tag = element.attrib, element.tag.rpartition("}")[2]
    if tag == "Pixels":
        return math.prod(int(attributes[f"Size{letter}"]) for letter in "TCZ")
    if tag == "TiffData":
        return int(attributes.get("PlaneCount", attributes.get("NumPlanes", 1 if "IFD" in attributes else pages)))
    if "Along" in tag and "Start" in attributes:  # a modulo annotation: T, C or Z split into steps
        start, end, step = float(attributes["Start"]), float(attributes["End"]), float(attributes.get("Step", 1))
        return math.ceil(abs((end - start) / step))
    return 0
