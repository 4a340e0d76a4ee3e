"""Where maps come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .geometry import Box


class MapSource(Protocol):
    """Network outputs of an image of any size, of which boxes are read. Workers get a copy: it can be pickled."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X) or (Z, Y, X) of the image."""
        ...

    def read(self, box: Box) -> NDArray[np.float32]:
        """Returns the maps of a box, float32 [3, Y, X] or [4, Z, Y, X], as `recover_masks` takes them."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayMaps:
    """Maps in one array: of NumPy, mapped from a file, or of Zarr.

    Attributes:
        array: float32 [3, Y, X] or [4, Z, Y, X].
    """

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X) or (Z, Y, X) of the image."""
        return tuple(self.array.shape[1:])

    def read(self, box: Box) -> NDArray[np.float32]:
        """Returns the maps of a box."""
        index = tuple(slice(first, last) for first, last in zip(box.start, box.stop, strict=True))
        return np.ascontiguousarray(self.array[(slice(None), *index)], np.float32)
