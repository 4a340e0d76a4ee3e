"""PNG files to pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from .encoded import PNG_SIGNATURE
from .errors import ImageError
from .exif import exif_orientation
from .files import FileBytes
from .image import Image, PixelSize
from .limits import Limits
from .losses import alpha_ignored, orientation_ignored
from .pixel_size import by_pixels_per_metre
from .png import METRE, PHYSICAL, png_chunk

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_COLOURS = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 1, _RGBA: 3}  # planes of a colour type, without alpha
_HEADER = slice(16, 29)  # content of IHDR
_DESCRIPTIONS = (b"PLTE", b"pHYs", b"eXIf")


def read_png(data: bytes, limits: Limits, name: str = "", *, as_stored: bool = False) -> Image:
    """Reads a PNG file.

    A palette becomes its colours, or one plane if all its entries are grey. Alpha and transparent colours are dropped.
    The pixels are in the order of the file, whatever orientation EXIF states.

    Args:
        data: The file.
        limits: Largest image taken, compared with the header of the file.
        name: Name of the image.
        as_stored: As for `read_image`.

    Returns:
        uint8 or uint16, "YX" or "YXS" with three colours.

    Raises:
        ImageError: As `read_image`.
    """
    width, height, depth, colour = _header(data)
    itemsize = 2 if depth == 16 else 1
    limits.check(_COLOURS[colour], height, width, itemsize)
    limits.check_one("bytes", (_COLOURS[colour] + 1) * height * width * itemsize)  # the decoder may add alpha
    chunks = _first_chunks(data)
    size, warnings = _pixel_size(chunks), orientation_ignored(exif_orientation(chunks.get(b"eXIf", b"")))
    if as_stored and colour == _PALETTE:
        return Image(_indices(data, depth), "YX", size, name, warnings)
    pixels = _decoded(data)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        warnings += alpha_ignored(pixels[:, :, -1])
    if pixels.ndim == 2:
        plain, axes = pixels, "YX"
    elif pixels.shape[2] < 3 or _axes(colour, chunks) == "YX":
        plain, axes = pixels[:, :, 0], "YX"
    else:
        plain, axes = pixels[:, :, :3], "YXS"
    return Image(plain, axes, size, name, warnings)


def png_layout(data: FileBytes) -> tuple[str, tuple[int, ...], np.dtype[Any], PixelSize | None]:
    """Returns axes, shape, type and pixel size of the image that `read_png` reads, by the header alone.

    Raises:
        ImageError: IMAGE_UNDECODABLE: the header is damaged.
    """
    width, height, depth, colour = _header(data)
    chunks = _first_chunks(data)
    axes = _axes(colour, chunks)
    shape = (height, width, 3) if "S" in axes else (height, width)
    return axes, shape, np.dtype(np.uint16 if depth == 16 else np.uint8), _pixel_size(chunks)


def _header(data: FileBytes) -> tuple[int, int, int, int]:
    """Returns columns, rows, bits of a sample and type of colour."""
    if data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE or len(data) < 33 or data[12:16] != b"IHDR":
        raise _damaged()
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if colour not in _COLOURS:
        raise _damaged()
    return width, height, depth, colour


def _axes(colour: int, chunks: Mapping[bytes, bytes]) -> str:
    grey = _COLOURS[colour] == 1 or (colour == _PALETTE and _is_grey(chunks.get(b"PLTE", b"")))
    return "YX" if grey else "YXS"


def _decoded(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        pixels: NDArray[np.uint8] | NDArray[np.uint16] = imagecodecs.png_decode(data)
    except Exception as error:  # the codec's own exception types are not public
        raise _damaged() from error
    return pixels


def _indices(data: bytes, depth: int) -> NDArray[np.uint8]:
    """Returns the indices of an image with a palette: the decoder gives them if the header calls them grey."""
    header = bytearray(data[_HEADER])
    header[9] = _GREY
    pixels = [data[start:end] for kind, start, end in _chunks(data) if kind == b"IDAT"]
    parts = [(b"IHDR", bytes(header)), *((b"IDAT", part) for part in pixels), (b"IEND", b"")]
    grey = _decoded(PNG_SIGNATURE + b"".join(png_chunk(*part) for part in parts))
    indices: NDArray[np.uint8] = (grey // (255 // (2**depth - 1))).astype(np.uint8)  # the decoder stretches to 8 bits
    return indices


def _is_grey(palette: bytes) -> bool:
    """Tells whether red, green and blue are equal in every entry of the palette."""
    return palette[0::3] == palette[1::3] == palette[2::3]


def _pixel_size(chunks: Mapping[bytes, bytes]) -> PixelSize | None:
    physical = chunks.get(b"pHYs", b"")
    if len(physical) != PHYSICAL.size:
        return None
    x, y, unit = PHYSICAL.unpack(physical)
    return by_pixels_per_metre(y, x) if unit == METRE else None


def _first_chunks(data: FileBytes) -> dict[bytes, bytes]:
    """Returns the contents of the chunks that describe the pixels, by type: the first of each type."""
    found: dict[bytes, bytes] = {}
    for kind, start, end in _chunks(data):
        if kind in _DESCRIPTIONS and kind not in found:
            found[kind] = data[start:end]
    return found


def _chunks(data: FileBytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields type, start and end of the content of each chunk."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, at + 8 + length
        at += length + 12


def _damaged() -> ImageError:
    return ImageError("the PNG file cannot be decoded; it is damaged or cut off", "IMAGE_UNDECODABLE")
