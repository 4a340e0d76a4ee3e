"""Following the flows of a volume, or of a window of a volume."""

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import FLOW_SCALE
from ._tracking3d import count_cubes, follow_stepwise, follow_trilinear, keep
from ._traps3d import find_traps
from ._window import Window, framed, window_of

_CUBES = 4
"""Cubes whose voxels one thread follows at a time: a few milliseconds."""


def follow_volume(maps: NDArray[np.float32], params: RecoveryParams, threads: ThreadGroup) -> NDArray[np.int32]:
    """Follow the flows of a whole volume: `follow_window` of maps [4, Z, Y, X], in which no path escapes."""
    depth, height, width = maps.shape[1:]
    return follow_window(maps, window_of((0, 0, 0), (depth, height, width), (depth, height, width)), params, threads)


def follow_window(
    maps: NDArray[np.float32],
    window: Window,
    params: RecoveryParams,
    threads: ThreadGroup,
    core: tuple[slice, slice, slice] | None = None,
) -> NDArray[np.int32]:
    """Follow the flows of a window of a volume from its kept voxels to where they end.

    A path that stays in the window ends where it would end in the whole volume. It takes 13 bytes a voxel besides maps
    and result.

    Args:
        maps: float32 [4, Z, Y, X] of the window.
        window: of `window_of`; that of the whole volume, if the maps are.
        params: validated parameters.
        threads: threads that share the work. Results do not depend on it.
        core: voxels of the window from which paths begin; all if left out.

    Returns:
        int32 [Z, Y, X]: the flat index, in the window, of the voxel in which the path ends. ESCAPED if it leaves the
        window, -1 where none begins.
    """
    shape = maps.shape[1:]
    flow = np.zeros(framed(shape), np.float32)
    ends = np.empty(shape, np.int32)
    rows = bands((shape[0] * shape[1], shape[2]))
    params = params.resolved(3)
    assert params.cellprob_threshold is not None  # resolved
    assert params.niter is not None
    threshold, scale, niter = np.float32(params.cellprob_threshold), np.float32(FLOW_SCALE), params.niter
    threads.each(lambda part: keep(maps, threshold, scale, *part, flow, ends), rows)
    if core is not None:
        wanted = ends[core].copy()
        ends[:] = -1
        ends[core] = wanted
    cubes = count_cubes(shape)
    parts = [(first, min(first + _CUBES, cubes)) for first in range(0, cubes, _CUBES)]
    flag = threads.cancellation.flag
    stretched = params.interpolation == "bilinear" and params.mask_rules == "cellpose3"
    if stretched or params.interpolation == "nearest":
        threads.each(lambda part: follow_stepwise(flow, window, stretched, niter, *part, ends, flag), parts)
        return ends
    cells = np.zeros(flow.shape[:3], np.uint8)
    found = threads.each(lambda part: find_traps(flow, window, *part, cells), rows)
    traps = np.concatenate([np.empty(0, np.uint64), *(traps for traps, _ in found)])
    boxes = np.concatenate([np.empty((0, 6), np.float32), *(boxes for _, boxes in found)])
    threads.each(lambda part: follow_trilinear(flow, cells, traps, boxes, window, niter, *part, ends, flag), parts)
    return ends
