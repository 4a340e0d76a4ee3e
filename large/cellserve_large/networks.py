"""Where the networks run."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from cellserve_preprocess import TileGrid
from numpy.typing import NDArray


class Networks(Protocol):
    """Runs the networks on tiles. Threads call it side by side; workers get a copy: it can be pickled."""

    def run(self, planes: NDArray[np.float32], grid: TileGrid) -> NDArray[np.int32]:
        """Runs the networks on the tiles of some planes.

        Args:
            planes: float32 [N, 2, y, x], cytoplasm and nucleus, normalised and at the networks' scale: the extent of
                the grid. The nuclei are zeros where the image has none.
            grid: the tiles, a part of the grid of the whole plane.

        Returns:
            int32 [N, 3, y, x], the sums of the tiles of each plane, as of `MapSums`.
        """
        ...
