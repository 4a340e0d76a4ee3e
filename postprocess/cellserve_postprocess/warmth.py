"""Compiling before the first image comes."""

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_preprocess import TILE, TileGrid, resize

from .flows import diffuse
from .masks import recover_masks
from .objects import measure_objects
from .reassemble import MapSums


def warm_up() -> None:
    """Compile every kernel, or load it from the cache on disk, so that no image waits for it.

    It takes some thirty seconds the first time and a fraction of a second after that. The cache lies beside the package
    where that can be written, else in the user's cache folder; NUMBA_CACHE_DIR puts it elsewhere.
    """
    for axes in (2, 3):
        labels = np.zeros((12,) * axes, np.int32)
        labels[(slice(3, 9),) * axes] = 1
        boxes = np.array([[3] * axes + [9] * axes], np.int32)
        logit = np.where(labels > 0, np.float32(5), np.float32(-5))
        maps = np.concatenate([5 * diffuse(labels, boxes), logit[np.newaxis]])
        for params in (RecoveryParams(), RecoveryParams(interpolation="nearest", mask_rules="cellpose3")):
            recovered = recover_masks(maps, params)
            measure_objects(recovered.labels, logit, recovered.flow_errors)
    sums = MapSums(TileGrid.cover((32, 32)))
    tile = np.zeros((3, TILE, TILE), np.float32)
    for writeable in (True, False):  # tiles lie in read-only messages
        tile.flags.writeable = writeable
        sums.add(0, tile)
    resize(sums.maps() + 1, (16, 16))  # zeros are not interpolated
