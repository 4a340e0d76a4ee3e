"""Flows as TIFF files of numbers and as PNG pictures."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import write_bytes
from .image import PixelSize
from .png import png_bytes
from .tiff import tiff_bytes

# Red, green and blue are brightest where the flow has these directions. An angle of 0 points down, 90 degrees to the
# right.
_BRIGHTEST = np.deg2rad([180.0, 60.0, -60.0]).astype(np.float32)


def draw_flows(flows: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws flows in the colours that Cellpose uses: the hue is the direction, the brightness is the length.

    Red points up, yellow to the upper right, green to the lower right, cyan down, blue to the lower left, and magenta
    to the upper left.

    Args:
        flows: Floating-point numbers [2, Y, X]: along y and along x.

    Returns:
        uint8 [Y, X, 3]. A flow of length 0 is black. A length of 1 has full brightness, as does anything longer.
    """
    down, right = flows.astype(np.float32)
    brightness = np.minimum(np.hypot(down, right), 1) * np.float32(255 / 2)
    angle = np.arctan2(right, down)
    colours = [brightness * (1 + np.cos(angle - peak)) for peak in _BRIGHTEST]
    picture: NDArray[np.uint8] = np.rint(np.stack(colours, axis=2)).astype(np.uint8)
    return picture


def flows_png_bytes(flows: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns the picture of `draw_flows` as a PNG file.

    Args:
        flows: As in `draw_flows`.
        pixel_size: That of the segmented image, micrometres.
    """
    return png_bytes(draw_flows(flows), pixel_size)


def write_flows_png(path: str | os.PathLike[str], flows: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes the picture of `draw_flows` as a PNG file; arguments as in `flows_png_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, flows_png_bytes(flows, pixel_size))


def flows_tiff_bytes(flows: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns flows as a TIFF file of float32 with axes CYX.

    Args:
        flows: As in `draw_flows`.
        pixel_size: That of the segmented image, micrometres.
    """
    return tiff_bytes(flows.astype(np.float32), "CYX", pixel_size)


def write_flows_tiff(path: str | os.PathLike[str], flows: NDArray[Any], pixel_size: PixelSize | None = None) -> None:
    """Writes flows as a TIFF file; arguments as in `flows_tiff_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, flows_tiff_bytes(flows, pixel_size))
