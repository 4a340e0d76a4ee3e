"""JPEG files to pixels, and the sizes that JPEG streams announce."""

from __future__ import annotations

from typing import NamedTuple

import imagecodecs

from .errors import ImageError
from .image import Image
from .limits import Limits

# Start of frame markers, each of another coding process. C4, C8 and CC are no start of frame.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}


class JpegFrame(NamedTuple):
    """What a JPEG stream says of its image."""

    height: int
    width: int
    samples: int
    bits: int


def jpeg_frame(data: bytes | memoryview) -> JpegFrame | None:
    """Returns the frame header of a JPEG stream; None if there is none.

    Args:
        data: The stream.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAMES and at + 10 <= len(data):
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return JpegFrame(height, width, data[at + 9], data[at + 4])
        elif marker == 0xDA:  # pixels begin
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def read_jpeg(data: bytes, limits: Limits, name: str = "") -> Image:
    """Reads a JPEG file; its orientation tag is ignored, so that labels fit the stored pixels.

    Args:
        data: The file.
        limits: Largest image taken, compared with the header of the file.
        name: Name of the image.

    Returns:
        uint8, "YX" or "YXS" with three colours.

    Raises:
        ImageError: As `read_image`; IMAGE_UNDECODABLE for CMYK and for more than 8 bits.
    """
    frame = jpeg_frame(data)
    if frame is None:
        raise _damaged()
    if frame.samples not in (1, 3):
        kind = "CMYK" if frame.samples == 4 else f"{frame.samples} samples per pixel"
        raise ImageError(f"the JPEG file is {kind}; save it as grey or RGB", "IMAGE_UNDECODABLE")
    if frame.bits != 8:
        raise ImageError(f"the JPEG file has {frame.bits} bits per sample; only 8 are read", "IMAGE_UNDECODABLE")
    limits.check(frame.samples, frame.height, frame.width, 1)
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except Exception as error:  # the codec's own exception types are not public
        raise _damaged() from error
    return Image(pixels, "YX" if pixels.ndim == 2 else "YXS", name=name)


def _damaged() -> ImageError:
    return ImageError("the JPEG file cannot be decoded; it is damaged or cut off", "IMAGE_UNDECODABLE")
