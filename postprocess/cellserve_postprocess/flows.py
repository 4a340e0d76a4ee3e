"""The flows of given masks."""

import numpy as np
from numpy.typing import NDArray

from . import _diffusion, _diffusion3d


def diffuse(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit flows of all objects (paper, "Auxiliary vector flow representation").

    Every object is computed in its own bounding box, where the pixels of all others count as outside. In volumes heat
    spreads to neighbours along three axes instead of two.

    Args:
        labels: int32 [Y, X] or [Z, Y, X], 0 or 1..N.
        boxes: int32 [N, 4] or [N, 6], of `measure_extents`.

    Returns:
        float32 [2, Y, X], flow along y and x; or float32 [3, Z, Y, X], flow along z, y and x. Zero outside objects and
        where the heat is level.
    """
    return _diffusion.diffuse(labels, boxes) if labels.ndim == 2 else _diffusion3d.diffuse(labels, boxes)
