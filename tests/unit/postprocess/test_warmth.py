from itertools import product

import numpy as np
from cellserve_postprocess import (
    MapSums,
    RecoveryParams,
    _blending,
    _clustering,
    _diffusion,
    _diffusion3d,
    _labels,
    _tracking,
    _tracking3d,
    _traps3d,
    measure_objects,
    recover_masks,
    trace_outlines,
    warm_up,
)
from cellserve_preprocess import TILE, TileGrid, _interpolation, resize, resize_region

from .shapes import disks, perfect_maps


def compiled():
    """Number of compiled variants of every kernel."""
    return {
        (module.__name__.rpartition(".")[2], name): len(kernel.signatures)
        for module in (
            _tracking,
            _tracking3d,
            _traps3d,
            _clustering,
            _diffusion,
            _diffusion3d,
            _labels,
            _blending,
            _interpolation,
        )
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    }


def test_no_request_compiles_a_kernel():
    warm_up()
    before = compiled()
    once = ["_tracking.follow_bilinear", "_tracking.follow_nearest", "_labels.fill_holes", "_labels.moments"]
    once += ["_tracking3d.follow_trilinear", "_tracking3d.follow_stepwise", "_diffusion.flow_errors"]
    once += ["_diffusion3d.flow_errors"]
    assert [before[tuple(name.split("."))] for name in once] == [1] * len(once)
    labels = disks((70, 100), [(30, 25), (30, 70)], 18)
    for maps in (perfect_maps(labels), perfect_maps(np.repeat(labels[np.newaxis, ::2, ::2], 9, axis=0))):
        read_only = np.frombuffer(maps.tobytes(), dtype=np.float32).reshape(maps.shape)
        for variant in (maps, read_only, np.asfortranarray(maps), maps[:, ::-1], maps[..., :40, :]):
            for interpolation, rules in product(("bilinear", "nearest"), ("paper", "cellpose3")):
                params = RecoveryParams(interpolation=interpolation, mask_rules=rules, exclude_on_edges=True)
                recovered = recover_masks(variant, params)
                for dtype in (np.uint16, np.uint32):
                    numbers = recovered.labels.astype(dtype)
                    numbers.flags.writeable = False
                    measure_objects(numbers, variant[-1], recovered.flow_errors)
                    if numbers.ndim == 2:
                        trace_outlines(numbers)
    grid = TileGrid.cover((300, 300), augment=True)
    tiles = np.zeros((len(grid), 3, TILE, TILE), np.float32)
    in_message = [np.frombuffer(tile.tobytes(), np.float32).reshape(tile.shape) for tile in tiles]
    for variant in (tiles, in_message, tiles[..., ::-1]):
        sums = MapSums(grid)
        for index, tile in enumerate(variant):
            sums.add(index, tile)
        sums.maps()
    for variant in (maps, read_only, maps[:, :, ::2]):
        resize(variant, (35, 50))
    resize_region(maps[:, 5:], (5, 0), (70, 100), (70, 50), (slice(10, 20), slice(5, 15)))
    assert compiled() == before
