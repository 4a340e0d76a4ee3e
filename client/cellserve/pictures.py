"""Results as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from cellserve_formats import Image, stack
from cellserve_formats.montage import montage
from cellserve_formats.overlay import OverlayOptions, draw_overlay
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .results import Segmentation


def overlay(result: Segmentation, image: Image, **options: Unpack[OverlayOptions]) -> NDArray[np.uint8]:
    """Draws a result on its image; see `Segmentation.overlay`.

    Raises:
        ValueError: The image has another size, or the result has no labels.
    """
    check_size(result, image)
    if result.labels.ndim == 3:
        return montage(shown(result, image), result.labels, anisotropy=result.params.anisotropy or 1.0)
    return draw_overlay(image, result.labels, *channels(result), **options)


def channels(result: Segmentation) -> tuple[int, int]:
    """Returns the planes of cytoplasm and nuclei that a result is of, -1 for all planes and for none."""
    cytoplasm, nucleus = result.params.cytoplasm_channel, result.params.nucleus_channel
    return -1 if cytoplasm is None else cytoplasm, -1 if nucleus is None else nucleus


def shown(result: Segmentation, image: Image) -> NDArray[Any]:
    """Returns the channels of a stack that a picture of it shows, [Z, C, Y, X]."""
    pixels = stack(image)
    if pixels.shape[1] <= 2:
        return pixels
    cytoplasm, nucleus = channels(result)
    if cytoplasm < 0:
        return pixels[:, :3]
    return pixels[:, [cytoplasm] if nucleus < 0 else [cytoplasm, nucleus]]


def check_size(result: Segmentation, image: Image) -> None:
    """Checks that a result has the size of an image. Raises ValueError."""
    length = dict(zip(image.axes, image.pixels.shape, strict=True))
    size = tuple(length.get(axis, 1) for axis in result.axes)
    if size != result.labels.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (size, result.labels.shape)]
        raise ValueError(f"the image has {sizes[0]} pixels, the result {sizes[1]}")
