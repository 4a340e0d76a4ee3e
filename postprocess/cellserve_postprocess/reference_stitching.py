"""Stitching as plain as possible. The oracle of `stitching`: kernels of the same names, and the whole."""

import numpy as np
from numpy.typing import NDArray


def scan(
    below: NDArray[np.int32], above: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """As `_stitching.scan`."""
    areas = np.bincount(above.ravel(), minlength=count + 1)[1:].astype(np.int64)
    firsts = np.array([np.append(np.flatnonzero(above == n), -1)[0] for n in range(1, count + 1)], np.int64)
    runs: list[list[int]] = []
    for line_below, line_above in zip(below.tolist(), above.tolist(), strict=True):
        before = (0, 0)
        for pair in zip(line_below, line_above, strict=True):
            if all(pair) and pair == before:
                runs[-1][2] += 1
            elif all(pair):
                runs.append([*pair, 1])
            before = pair
    return areas, firsts, np.array(runs, np.int32).reshape(-1, 3)


def join(parents: NDArray[np.int64], firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> None:
    """As `_stitching.join`; of the parents only the sets they stand for are the same."""
    settle(parents)
    for a, b in zip(firsts, seconds, strict=True):
        pair = parents[[a, b]]
        parents[np.isin(parents, pair)] = pair.min()


def settle(parents: NDArray[np.int64]) -> None:
    """As `_stitching.settle`."""
    while (parents != parents[parents]).any():
        parents[:] = parents[parents]


def stitch(labels: NDArray[np.int32], threshold: float, rules: str) -> NDArray[np.int64]:
    """As `stitching.stitch`, objects of all sizes; labels int32 [Z, Y, X]."""
    found = [(z, n) for z, plane in enumerate(labels) for n in np.unique(plane[plane > 0]).tolist()]
    masks = [(labels[z] == n) for z, n in found]
    iou = np.zeros((len(found), len(found)))
    for i, (z, _) in enumerate(found):
        for j, (other, _) in enumerate(found):
            if other == z + 1:
                iou[i, j] = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
    iou[iou < threshold] = 0
    parents = np.arange(len(found))
    if rules == "paper":
        join(parents, *np.nonzero(iou))
    else:
        iou[iou < iou.max(axis=1, keepdims=True, initial=0)] = 0
        for j in np.flatnonzero(iou.any(axis=0)).tolist():
            parents[j] = parents[iou[:, j] == iou[:, j].max()].min()
    volume = np.zeros(labels.shape, np.int64)
    for (z, _), mask, first in zip(found, masks, parents.tolist(), strict=True):
        volume[z][mask] = first + 1
    values, places = np.unique(volume, return_index=True)
    inside = values > 0
    numbers = np.zeros(len(found) + 1, np.int64)
    numbers[values[inside][np.argsort(places[inside])]] = np.arange(1, inside.sum() + 1)
    return numbers[volume]
