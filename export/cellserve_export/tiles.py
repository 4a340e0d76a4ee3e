"""Real tiles for the parity gate, normalised and cut the way the gateway does, at the scale of the file."""

from pathlib import Path

import cv2
import numpy as np
from cellserve_preprocess import Normalization, TileGrid, default_channels, normalize, select_channels

from cellserve_export.errors import TileError
from cellserve_export.parity import Tiles


def image_tile(path: Path) -> Tiles:
    """The first tile of an image, float32 [1,2,224,224], normalised by the percentiles of the whole image.

    Raises:
        TileError: the file is no image that OpenCV reads.
    """
    if not path.is_file():
        raise TileError(f"{path}: no such file")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise TileError(f"{path}: not an image that can be read (PNG, TIFF, JPEG)")
    planes = image[np.newaxis] if image.ndim == 2 else np.moveaxis(image, -1, 0)[:3]  # without an alpha channel
    normalized = normalize(select_channels(planes, *default_channels(len(planes))), Normalization())
    return TileGrid.cover(normalized.shape[1:]).cut(normalized, 0, 1)
