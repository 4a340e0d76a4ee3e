"""Arrays as the kernels are compiled for them.

Compilation is per dtype, layout and writability: an array that came read-only out of a message would compile the
kernels anew, in the middle of a request.
"""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

FLOW_SCALE = 5.0
"""Networks predict flows times this, which balances the terms of the training loss (paper, "Deep neural network")."""


def kernel_labels(labels: NDArray[Any]) -> NDArray[np.int32]:
    """A label image [Y, X] or [Z, Y, X] as int32; the argument itself where it fits.

    Raises:
        ValueError: the array has other axes, no integers, or a number beyond int32.
    """
    if labels.ndim not in (2, 3) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"a label image has 2 or 3 axes and integers, not shape {labels.shape} of {labels.dtype}")
    if labels.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(f"numbers of objects go to {np.iinfo(np.int32).max}, not {labels.max()}")
    return np.require(labels, np.int32, ["C_CONTIGUOUS", "WRITEABLE"])


def as_volume(array: NDArray[T]) -> NDArray[T]:
    """An image [Y, X] as a volume of one plane; a volume [Z, Y, X] as it is."""
    return array if array.ndim == 3 else array[np.newaxis]


def as_rows(array: NDArray[T]) -> NDArray[T]:
    """The rows of an image or volume, one below another, [rows, X]. It is a view of the array."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def kernel_floats(array: NDArray[Any]) -> NDArray[np.float32]:
    """An array as float32; the argument itself where it fits."""
    return np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"])
