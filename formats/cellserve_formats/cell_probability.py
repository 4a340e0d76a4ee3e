"""The map of cell probability as a TIFF file of logits and as a PNG picture."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import write_bytes
from .image import PixelSize
from .png import png_bytes
from .tiff import tiff_bytes


def draw_cell_probability(cell_probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws the probability of cells in grey.

    Args:
        cell_probability: Logits, floating-point numbers [Y, X].

    Returns:
        uint8 [Y, X]: 255 / (1 + exp(-logit)). Black is probability 0, white is 1.
    """
    # This form of the logistic function overflows nowhere.
    probability = 0.5 * (1 + np.tanh(0.5 * cell_probability.astype(np.float32)))
    picture: NDArray[np.uint8] = np.rint(255 * probability).astype(np.uint8)
    return picture


def cell_probability_png_bytes(cell_probability: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns the picture of `draw_cell_probability` as a PNG file.

    Args:
        cell_probability: As in `draw_cell_probability`.
        pixel_size: That of the segmented image, micrometres.
    """
    return png_bytes(draw_cell_probability(cell_probability), pixel_size)


def write_cell_probability_png(
    path: str | os.PathLike[str], cell_probability: NDArray[Any], pixel_size: PixelSize | None = None
) -> None:
    """Writes the picture of `draw_cell_probability`; arguments as in `cell_probability_png_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, cell_probability_png_bytes(cell_probability, pixel_size))


def cell_probability_tiff_bytes(cell_probability: NDArray[Any], pixel_size: PixelSize | None = None) -> bytes:
    """Returns the logits as a TIFF file of float32 with axes YX.

    Args:
        cell_probability: As in `draw_cell_probability`.
        pixel_size: That of the segmented image, micrometres.
    """
    return tiff_bytes(cell_probability.astype(np.float32), "YX", pixel_size)


def write_cell_probability_tiff(
    path: str | os.PathLike[str], cell_probability: NDArray[Any], pixel_size: PixelSize | None = None
) -> None:
    """Writes the logits as a TIFF file; arguments as in `cell_probability_tiff_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, cell_probability_tiff_bytes(cell_probability, pixel_size))
