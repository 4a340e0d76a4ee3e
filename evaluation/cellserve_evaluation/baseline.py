"""What the textbook reaches without any learning: Otsu's threshold, then a watershed of the distance transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import relabel_sequential, watershed

MIN_SIZE = 15
"""Pixels of the smallest object kept: the default of the service."""


def otsu_watershed(image: NDArray[Any], diameter: float) -> NDArray[np.int32]:
    """Segments an image by its grey levels alone.

    The mean of the planes is cut at Otsu's threshold. Whichever side most of the image's border lies on is the
    ground. Holes are filled; the local maxima of the distance to the ground, at least half a diameter apart, are the
    seeds of a watershed that divides touching objects.

    Args:
        image: [C, Y, X], any real dtype.
        diameter: Of the objects, pixels.

    Returns:
        int32 [Y, X], 0 ground, 1..N; all zero for a constant image.
    """
    grey = image.astype(np.float32).mean(axis=0)
    if grey.min() == grey.max():
        return np.zeros(grey.shape, np.int32)
    bright = grey > threshold_otsu(grey)
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    inside = binary_fill_holes(~bright if border.mean() > 0.5 else bright)
    distance = distance_transform_edt(inside)
    peaks = peak_local_max(
        distance, min_distance=max(1, round(diameter / 2)), labels=inside.astype(np.int32), exclude_border=False
    )
    seeds = np.zeros(grey.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, seeds, mask=inside)
    small = np.bincount(labels.ravel()) < MIN_SIZE
    labels[small[labels]] = 0
    numbered: NDArray[np.int32] = relabel_sequential(labels)[0].astype(np.int32)
    return numbered
