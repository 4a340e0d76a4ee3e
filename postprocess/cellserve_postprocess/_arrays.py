"""Arrays as the kernels are compiled for them.

Compilation is per dtype, layout and writability: an array that came read-only out of a message would compile the
kernels anew, in the middle of a request.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def kernel_labels(labels: NDArray[Any]) -> NDArray[np.int32]:
    """A label image [Y, X] as int32; the argument itself where it fits.

    Raises:
        ValueError: the array has other axes, no integers, or a number beyond int32.
    """
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"a label image has two axes and integers, not shape {labels.shape} of {labels.dtype}")
    if labels.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(f"numbers of objects go to {np.iinfo(np.int32).max}, not {labels.max()}")
    return np.require(labels, np.int32, ["C_CONTIGUOUS", "WRITEABLE"])


def kernel_floats(array: NDArray[Any]) -> NDArray[np.float32]:
    """An array as float32; the argument itself where it fits."""
    return np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"])
