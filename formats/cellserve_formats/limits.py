"""Largest images and image files that a reader takes."""

from dataclasses import dataclass

from .errors import ImageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on an image and on its file, each checked before memory is spent.

    The defaults suit a program that reads its user's own files. A server sets its own.

    Attributes:
        pixels: Most pixels of one plane, rows x columns.
        bytes: Most bytes of all pixels.
        channels: Most channels, or samples of a colour pixel.
        planes: Most planes: the product of the lengths of all axes except Y and X.
        voxels: Most voxels of a stack: the product of the lengths of T, Z, Y and X.
        pages: Most pages of a TIFF file.
        metadata_bytes: Most bytes of all tags of a TIFF file. Parsed tags take up to 20 times as much.
        bytes_per_strip: Most bytes of a compressed strip or tile of a TIFF file once unpacked, beside the pixels.
    """

    pixels: int = 1 << 32
    bytes: int = 1 << 36
    channels: int = 1 << 14
    planes: int = 1 << 14
    voxels: int = 1 << 36
    pages: int = 1 << 16
    metadata_bytes: int = 1 << 28
    bytes_per_strip: int = 1 << 36

    def check(self, channels: int, height: int, width: int, itemsize: int, stacked: int = 1) -> int:
        """Checks the size of an image.

        Args:
            channels: Channels or colours.
            height: Rows.
            width: Columns.
            itemsize: Bytes of one element.
            stacked: Product of the lengths of the axes that make a stack: T and Z.

        Returns:
            Bytes of the pixels.

        Raises:
            ImageError: IMAGE_EMPTY if an axis has no element; IMAGE_TOO_LARGE above a limit.
        """
        planes = channels * stacked
        if min(channels, stacked, height, width) < 1:
            raise ImageError(f"the image is empty: {planes} planes of {height} x {width} pixels", "IMAGE_EMPTY")
        size = planes * height * width * itemsize
        self.check_one("pixels", height * width)
        self.check_one("channels", channels)
        self.check_one("planes", planes)
        if stacked > 1:
            self.check_one("voxels", stacked * height * width)
        self.check_one("bytes", size)
        return size

    def check_one(self, name: str, value: int) -> None:
        """Compares a value with the limit of that name.

        Raises:
            ImageError: IMAGE_TOO_LARGE with `resource`, `value` and `limit`.
        """
        limit: int = getattr(self, name)
        if value > limit:
            what = f"{value:,} {name.replace('_', ' ')}"
            raise _too_large(what, _REMEDIES.get(name, ""), resource=name, value=value, limit=limit)


DEFAULT_LIMITS = Limits()

_REMEDIES = {
    "pixels": ": cut the image into parts",
    "bytes": ": cut the image into parts, or send fewer planes or smaller numbers",
    "channels": ": send fewer channels",
    "planes": ": send fewer planes",
    "voxels": ": cut the stack into parts",
}


def check_sent(size: int, limit: int) -> None:
    """Compares the bytes of an image as sent, packed or not, with the most that a server takes.

    Raises:
        ImageError: IMAGE_TOO_LARGE with `resource` ("bytes"), `value` and `limit`.
    """
    if size > limit:
        remedy = ": compress the image, or cut the image into parts"
        raise _too_large(f"{size:,} bytes as sent", remedy, resource="bytes", value=size, limit=limit)


def _too_large(what: str, remedy: str, *, resource: str, value: int, limit: int) -> ImageError:
    message = f"the image has {what}; the limit is {limit:,}{remedy}"
    return ImageError(message, "IMAGE_TOO_LARGE", resource=resource, value=value, limit=limit)
