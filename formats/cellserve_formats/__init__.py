"""Image files: the one reader, and one writer per output format."""

from .dtypes import image_dtype
from .encoded import EncodedImage, FileFormat, file_format
from .errors import ImageError
from .files import replacing
from .image import (
    Image,
    PixelSize,
    check_axes,
    check_one_time_point,
    check_pixels,
    guess_axes,
    planes,
    stack,
    time_points,
)
from .limits import Limits, check_sent
from .losses import alpha_ignored
from .read import read_image

__all__ = [
    "EncodedImage",
    "FileFormat",
    "Image",
    "ImageError",
    "Limits",
    "PixelSize",
    "alpha_ignored",
    "check_axes",
    "check_one_time_point",
    "check_pixels",
    "check_sent",
    "file_format",
    "guess_axes",
    "image_dtype",
    "planes",
    "read_image",
    "replacing",
    "stack",
    "time_points",
]
