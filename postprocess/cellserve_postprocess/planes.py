"""Following the flows of an image, or of a window of an image."""

from collections.abc import Iterator

import numpy as np
from cellserve_contract.params import RecoveryParams
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from ._arrays import FLOW_SCALE
from ._parts import mark_escaped
from ._tracking import SQUARE, find_traps, follow_bilinear, follow_nearest, keep


def follow_plane(maps: NDArray[np.float32], params: RecoveryParams, threads: ThreadGroup) -> NDArray[np.int32]:
    """Follow the flows of a whole image: `follow_window` of maps [3, Y, X], in which no path escapes."""
    height, width = maps.shape[1:]
    return follow_window(maps, (0, 0), (height, width), params, threads)


def follow_window(
    maps: NDArray[np.float32],
    origin: tuple[int, int],
    whole: tuple[int, int],
    params: RecoveryParams,
    threads: ThreadGroup,
    core: tuple[slice, slice] | None = None,
) -> NDArray[np.int32]:
    """Follow the flows of a window of an image from its kept pixels to where they end.

    A path that stays in the window ends where it would end in the whole image, bit for bit. It takes 9 bytes a pixel
    besides maps and result.

    Args:
        maps: float32 [3, Y, X] of the window.
        origin: position in the image of the first pixel of the window.
        whole: shape of the image.
        params: validated parameters.
        threads: threads that share the work. Results do not depend on it.
        core: pixels of the window from which paths begin; all if left out.

    Returns:
        int32 [Y, X]: flat index, in the window, of the pixel in which the path ends. ESCAPED if the path reached a side
        of the window that is none of the image, -1 where no path begins.
    """
    height, width = maps.shape[1:]
    flow = np.zeros((height + 1, width + 1, 2), np.float32)
    ends = np.empty((height, width), np.int32)
    params = params.resolved(2)
    assert params.cellprob_threshold is not None  # resolved
    assert params.niter is not None
    threshold, scale, niter = np.float32(params.cellprob_threshold), np.float32(FLOW_SCALE), params.niter
    threads.each(lambda rows: keep(maps, threshold, scale, *rows, flow, ends), bands(ends.shape))
    if core is not None:
        wanted = ends[core].copy()
        ends[:] = -1
        ends[core] = wanted
    flag = threads.cancellation.flag
    rim = list(_rim(ends.shape, origin, whole))
    if params.interpolation == "nearest":
        _fill(flow, ends.shape, rim, 0)  # no path goes on from there
        threads.each(lambda rows: follow_nearest(flow, niter, origin, *rows, ends, flag), bands(ends.shape))
    else:
        traps = np.zeros((height + 1, width + 1), np.bool_)
        threads.each(lambda rows: find_traps(flow, *rows, traps), bands(ends.shape))
        _fill(traps, ends.shape, rim, True)
        threads.each(
            lambda rows: follow_bilinear(flow, traps, niter, origin, *rows, ends, flag),
            bands(ends.shape, multiple=SQUARE),
        )
    if rim:
        outside = np.zeros(ends.shape, np.bool_)
        _fill(outside, ends.shape, rim, True)
        mark_escaped(ends, outside)
    return ends


def _rim(shape: tuple[int, ...], origin: tuple[int, int], whole: tuple[int, int]) -> Iterator[tuple[slice | int, ...]]:
    """The sides of a window that are none of the image, as indices of its pixels.

    What lies beyond is unknown. Positions that would leave the window are kept on its rim, so they are wrong there.
    """
    for axis in range(2):
        before = (slice(None),) * axis
        if origin[axis] > 0:
            yield (*before, 0)
        if origin[axis] + shape[axis] < whole[axis]:
            yield (*before, shape[axis] - 1)


def _fill(
    array: NDArray[np.generic], shape: tuple[int, ...], rim: list[tuple[slice | int, ...]], value: bool | int
) -> None:
    """Set the rim of an array to a value; the array may be larger than the window, its padding is left alone."""
    inner = array[: shape[0], : shape[1]]
    for side in rim:
        inner[side] = value
