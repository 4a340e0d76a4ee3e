"""The two planes the networks look at: cytoplasm and nucleus."""

from typing import Any

import numpy as np
from cellserve_contract.channels import MEAN, NONE
from cellserve_contract.params import ParameterError
from numpy.typing import NDArray


def select_channels(image: NDArray[Any], cytoplasm: int, nucleus: int) -> NDArray[Any]:
    """Pick the planes the networks look at.

    Args:
        image: [C, Y, X] or [C, Z, Y, X] of any real dtype.
        cytoplasm: zero-based plane; -1 is the mean of all planes.
        nucleus: zero-based plane; -1 is none, a plane of zeros.

    Returns:
        A new array, [2, Y, X] or [2, Z, Y, X]: cytoplasm, nucleus. Its dtype is that of the image; a mean has a
        floating-point dtype.

    Raises:
        ParameterError: the image has no such plane.
    """
    if image.ndim not in (3, 4) or image.shape[0] == 0:
        raise ValueError(
            f"an image has axes [C, Y, X] or [C, Z, Y, X] and at least one channel, not shape {image.shape}"
        )
    planes = image.shape[0]
    for parameter, channel in (("cytoplasm_channel", cytoplasm), ("nucleus_channel", nucleus)):
        if not -1 <= channel < planes:
            raise ParameterError(parameter, channel, f"-1 to {planes - 1}")
    mean_dtype = np.float32 if np.can_cast(image.dtype, np.float32) else np.float64
    selected = np.empty((2, *image.shape[1:]), mean_dtype if cytoplasm == MEAN else image.dtype)
    if cytoplasm == MEAN:
        np.mean(image, axis=0, dtype=mean_dtype, out=selected[0])
    else:
        selected[0] = image[cytoplasm]
    selected[1] = 0 if nucleus == NONE else image[nucleus]
    return selected
