from itertools import product

import numpy as np
from cellserve_postprocess import (
    RecoveryParams,
    _blending,
    _clustering,
    _diffusion,
    _labels,
    _tracking,
    measure_objects,
    reassemble,
    recover_masks,
    trace_outlines,
    warm_up,
)
from cellserve_preprocess import TILE, TileGrid

from .shapes import disks, perfect_maps


def compiled():
    """Number of compiled variants of every kernel."""
    return {
        name: len(kernel.signatures)
        for module in (_tracking, _clustering, _diffusion, _labels, _blending)
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    }


def test_no_request_compiles_a_kernel():
    warm_up()
    before = compiled()
    assert before["follow_bilinear"] == before["follow_nearest"] == before["fill_holes"] == before["moments"] == 1
    labels = disks((70, 100), [(30, 25), (30, 70)], 18)
    maps = perfect_maps(labels)
    read_only = np.frombuffer(maps.tobytes(), dtype=np.float32).reshape(maps.shape)
    for variant in (maps, read_only, np.asfortranarray(maps), maps[:, ::-1], maps[:, :40]):
        for interpolation, rules in product(("bilinear", "nearest"), ("paper", "cellpose3")):
            params = RecoveryParams(interpolation=interpolation, mask_rules=rules, exclude_on_edges=True)
            recovered = recover_masks(variant, params)
            for dtype in (np.uint16, np.uint32):
                numbers = recovered.labels.astype(dtype)
                numbers.flags.writeable = False
                measure_objects(numbers, variant[2], recovered.flow_errors)
                trace_outlines(numbers)
    grid = TileGrid.cover((300, 300), augment=True)
    tiles = np.zeros((len(grid), 3, TILE, TILE), np.float32)
    in_message = [np.frombuffer(tile.tobytes(), np.float32).reshape(tile.shape) for tile in tiles]
    for variant in (tiles, list(tiles), in_message, tiles[..., ::-1]):
        reassemble(variant, grid)
    assert compiled() == before
