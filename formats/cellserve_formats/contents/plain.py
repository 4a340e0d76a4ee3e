"""The image of a PNG or JPEG file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cellserve_formats.files import FileBytes
from cellserve_formats.image import Image
from cellserve_formats.jpeg_reader import known_frame
from cellserve_formats.limits import Limits
from cellserve_formats.options import ReadOptions
from cellserve_formats.png_reader import png_layout
from cellserve_formats.read import decode_image

from .image_file import Contents, Position


def png_contents(path: Path, data: FileBytes, limits: Limits) -> Contents:
    """Describes a PNG file by its header; arguments and errors as in `open_images`."""
    axes, shape, dtype, size = png_layout(data)
    return _contents(path, data, Position(0, "", axes, shape, dtype, pixel_size=size), limits)


def jpeg_contents(path: Path, data: FileBytes, limits: Limits) -> Contents:
    """Describes a JPEG file by its header; arguments and errors as in `open_images`."""
    frame = known_frame(memoryview(data))
    axes, shape = ("YX", (frame.height, frame.width)) if frame.samples == 1 else ("YXS", (frame.height, frame.width, 3))
    return _contents(path, data, Position(0, "", axes, shape, np.dtype(np.uint8)), limits)


def _contents(path: Path, data: FileBytes, position: Position, limits: Limits) -> Contents:
    def load(number: int, time_point: int) -> Image:
        return decode_image(path if not isinstance(data, bytes) else data, limits, ReadOptions())

    return Contents((position,), load, (path,))
