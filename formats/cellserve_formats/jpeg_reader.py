"""JPEG files to pixels, and what JPEG streams say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs

from .errors import ImageError
from .exif import UPRIGHT, exif_orientation
from .image import Image
from .limits import Limits
from .losses import orientation_ignored

# Start of frame markers, each of another coding process. C4, C8 and CC are no start of frame.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_END_OF_IMAGE = b"\xff\xd9"
_EXIF = b"Exif\0\0"


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
    for marker, start, _ in _segments(data):
        if marker in _FRAMES and start + 6 <= len(data):
            height, width = int.from_bytes(data[start + 1 : start + 3]), int.from_bytes(data[start + 3 : start + 5])
            return JpegFrame(height, width, data[start + 5], data[start])
    return None


def is_cut_off(data: bytes) -> bool:
    """Tells whether a JPEG stream stops before its end. The decoder makes up the rest of such an image.

    Args:
        data: The stream.
    """
    scan = next((start for marker, start, _ in _segments(data) if marker == _START_OF_SCAN), None)
    return scan is None or data.find(_END_OF_IMAGE, scan) < 0  # in a scan, 0 follows every FF that is no marker


def read_jpeg(data: bytes, limits: Limits, name: str = "") -> Image:
    """Reads a JPEG file. The pixels are in the order of the file, whatever orientation EXIF states.

    Args:
        data: The file.
        limits: Largest image taken, compared with the header of the file.
        name: Name of the image.

    Returns:
        uint8, "YX" or "YXS" with three colours.

    Raises:
        ImageError: As `read_image`; IMAGE_UNDECODABLE for CMYK and for more than 8 bits.
    """
    frame = known_frame(data)
    limits.check(frame.samples, frame.height, frame.width, 1)
    if is_cut_off(data):
        raise _damaged()
    try:
        pixels = imagecodecs.jpeg8_decode(data)
    except Exception as error:  # the codec's own exception types are not public
        raise _damaged() from error
    axes = "YX" if pixels.ndim == 2 else "YXS"
    return Image(pixels, axes, name=name, warnings=orientation_ignored(_orientation(data)))


def known_frame(data: bytes | memoryview) -> JpegFrame:
    """Returns the frame header of an image that `read_jpeg` reads.

    Raises:
        ImageError: IMAGE_UNDECODABLE: there is none, or the image is CMYK or has more than 8 bits.
    """
    frame = jpeg_frame(data)
    if frame is None:
        raise _damaged()
    if frame.samples not in (1, 3):
        kind = "CMYK" if frame.samples == 4 else f"{frame.samples} samples per pixel"
        raise ImageError(f"the JPEG file is {kind}; save it as grey or RGB", "IMAGE_UNDECODABLE")
    if frame.bits != 8:
        raise ImageError(f"the JPEG file has {frame.bits} bits per sample; only 8 are read", "IMAGE_UNDECODABLE")
    return frame


def _orientation(data: bytes) -> int:
    for marker, start, end in _segments(data):
        if marker == _APP1 and data[start : start + len(_EXIF)] == _EXIF:
            return exif_orientation(data[start + len(_EXIF) : end])
    return UPRIGHT


def _segments(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yields marker, start and end of the content of each segment, up to the first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
            yield marker, at + 4, end
            if marker == _START_OF_SCAN:
                return
            at = end


def _damaged() -> ImageError:
    return ImageError("the JPEG file cannot be decoded; it is damaged or cut off", "IMAGE_UNDECODABLE")
