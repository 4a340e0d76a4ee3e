"""Image files as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import ImageError
from .files import FileBytes

FileFormat = Literal["png", "tiff", "jpeg"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # classic TIFF and BigTIFF, both byte orders


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image as the bytes of a file, to be decoded by somebody else.

    Attributes:
        data: The file, whole.
    """

    data: bytes

    @property
    def format(self) -> FileFormat:
        """Format of `data`, by its first bytes.

        Raises:
            ImageError: IMAGE_UNDECODABLE: neither TIFF nor PNG nor JPEG.
        """
        found = file_format(self.data)
        if found is None:
            raise ImageError("the file is neither TIFF nor PNG nor JPEG", "IMAGE_UNDECODABLE")
        return found


def file_format(data: FileBytes) -> FileFormat | None:
    """Names the format of a file by its first bytes; None if it is none that `read_image` reads."""
    start = data[: len(PNG_SIGNATURE)]
    if start == PNG_SIGNATURE:
        return "png"
    if start.startswith(_TIFF_STARTS):
        return "tiff"
    return "jpeg" if start.startswith(b"\xff\xd8\xff") else None
