"""Flows of given masks: the training targets, and the measure of a mask's quality."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import kernel_labels
from ._diffusion import diffuse
from .objects import measure_extents


def masks_to_flows(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Compute the flows of a label image by heat diffusion (paper, "Auxiliary vector flow representation").

    Args:
        labels: integers [Y, X], 0 is background; numbers may have gaps.

    Returns:
        float32 [2, Y, X], flow along y and flow along x: unit vectors inside objects, zero outside and where the heat
        is level (objects of one pixel; the middle of symmetric ones).
    """
    objects = kernel_labels(labels)
    _, boxes = measure_extents(objects, int(objects.max(initial=0)))
    return diffuse(objects, boxes)
