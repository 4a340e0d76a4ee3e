"""Compiling before the first image comes."""

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_preprocess import TILE, TileGrid

from ._diffusion import diffuse
from .masks import recover_masks
from .objects import measure_objects
from .reassemble import reassemble


def warm_up() -> None:
    """Compile every kernel, or load it from the cache on disk, so that no image waits for it.

    It takes some twenty seconds the first time and a fraction of a second after that. The cache lies beside the package
    where that can be written, else in the user's cache folder; NUMBA_CACHE_DIR puts it elsewhere.
    """
    square = np.zeros((32, 32), dtype=np.int32)
    square[8:24, 8:24] = 1
    logit = np.where(square > 0, np.float32(5), np.float32(-5))
    maps = np.concatenate([5 * diffuse(square, np.array([[8, 8, 24, 24]], np.int32)), logit[np.newaxis]])
    for params in (RecoveryParams(), RecoveryParams(interpolation="nearest", mask_rules="cellpose3")):
        recovered = recover_masks(maps, params)
        measure_objects(recovered.labels, logit, recovered.flow_errors)
    grid = TileGrid.cover(square.shape)
    tiles = np.zeros((len(grid), 3, TILE, TILE), np.float32)
    for writeable in (True, False):  # tiles lie in read-only messages
        tiles.flags.writeable = writeable
        reassemble(tiles, grid)
