"""PNG files to pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import imagecodecs

from .encoded import PNG_SIGNATURE
from .errors import ImageError
from .image import Image
from .limits import Limits

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_COLOURS = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 1, _RGBA: 3}  # planes of a colour type, without alpha


def read_png(data: bytes, limits: Limits, name: str = "") -> Image:
    """Reads a PNG file.

    A palette becomes its colours, or one plane if all its entries are grey. Alpha and transparent colours are dropped.

    Args:
        data: The file.
        limits: Largest image taken, compared with the header of the file.
        name: Name of the image.

    Returns:
        uint8 or uint16, "YX" or "YXS" with three colours.

    Raises:
        ImageError: As `read_image`.
    """
    if not data.startswith(PNG_SIGNATURE) or len(data) < 33 or data[12:16] != b"IHDR":
        raise _damaged()
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if colour not in _COLOURS:
        raise _damaged()
    itemsize = 2 if depth == 16 else 1
    limits.check(_COLOURS[colour], height, width, itemsize)
    limits.check_one("bytes", (_COLOURS[colour] + 1) * height * width * itemsize)  # the decoder may add alpha
    try:
        pixels = imagecodecs.png_decode(data)
    except Exception as error:  # the codec's own exception types are not public
        raise _damaged() from error
    if pixels.ndim == 2:
        return Image(pixels, "YX", name=name)
    if pixels.shape[2] < 3 or (colour == _PALETTE and _is_grey_palette(data)):
        return Image(pixels[:, :, 0].copy(), "YX", name=name)
    return Image(pixels[:, :, :3], "YXS", name=name)


def _is_grey_palette(data: bytes) -> bool:
    """Tells whether red, green and blue are equal in every entry of the palette."""
    palette = next((content for kind, content in _chunks(data) if kind == b"PLTE"), b"")
    return palette[0::3] == palette[1::3] == palette[2::3]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the type and content of each chunk in front of the pixels."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            return
        yield kind, data[at + 8 : at + 8 + length]
        at += length + 12


def _damaged() -> ImageError:
    return ImageError("the PNG file cannot be decoded; it is damaged or cut off", "IMAGE_UNDECODABLE")
