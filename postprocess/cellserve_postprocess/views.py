"""From the maps of three views to the maps of a volume (paper, "3D models")."""

from __future__ import annotations

import math

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

SECTION_AXES = ((1, 2), (0, 2), (0, 1))
"""Axes of the sections of each view, in a volume [Z, Y, X]: xy, xz and yz sections."""

_REACH = 3.0
"""Standard deviations that the smoothing reaches."""


class ViewSums:
    """The weighted means of the maps of three views: of each component of the flow, and of the logit.

    Each component of the flow is seen by two views. Sums are in single precision; add views in the same order to get
    the same bits.

    Args:
        shape: (Z, Y, X) of the volume.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._sums = np.zeros((4, *shape), np.float32)
        self._weights = np.zeros(4)

    def add(self, view: NDArray[np.float32], across: int, weight: float, threads: ThreadGroup | None = None) -> None:
        """Adds a view.

        Args:
            view: float32 [3, Z, Y, X]: flows along the rows and the columns of its sections, and logit.
            across: axis that the sections are cut across: 0 for xy sections, 1 for xz, 2 for yz.
            weight: of this view.
            threads: threads that share the work; the calling thread alone if left out.

        Raises:
            WorkCancelledError: the work was cancelled.
        """
        components = (*SECTION_AXES[across], 3)
        self._weights[list(components)] += weight

        def add(planes: tuple[int, int]) -> None:
            some = slice(*planes)
            for component, maps in zip(components, view, strict=True):
                self._sums[component, some] += np.float32(weight) * maps[some]

        (threads or ThreadGroup()).each(add, _slabs(view))

    def maps(self, threads: ThreadGroup | None = None) -> NDArray[np.float32]:
        """Returns the means, float32 [4, Z, Y, X]: 5 * flow along z, y and x, and logit.

        A component that no view of weight above 0 shows is 0. No views can be added any more.
        """
        maps, self._sums = self._sums, np.empty((4, 0, 0, 0), np.float32)
        shares = [np.float32(1 / weight if weight else 0) for weight in self._weights]

        def divide(planes: tuple[int, int]) -> None:
            for component, share in zip(maps, shares, strict=True):
                component[slice(*planes)] *= share

        (threads or ThreadGroup()).each(divide, _slabs(maps))
        return maps


def smooth_view(
    view: NDArray[np.float32], across: int, sigma: float, threads: ThreadGroup | None = None
) -> NDArray[np.float32]:
    """Smooths the maps of a view across its sections, which the networks saw one by one.

    Args:
        view: float32 [C, Z, Y, X].
        across: axis that the sections are cut across, 0 to 2.
        sigma: standard deviation of the Gaussian, in sections. Sections beyond the first and the last count as these.
        threads: threads that share the work, one component at a time; the calling thread alone if left out.

    Returns:
        float32 [C, Z, Y, X]; `view` itself if sigma is too small to change anything.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    reach = min(math.ceil(_REACH * sigma), view.shape[1 + across] - 1)
    offsets = np.arange(-reach, reach + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    weights = (weights / weights.sum()).astype(np.float32)
    if weights.max() == 1:
        return view
    smoothed = np.empty_like(view)

    def smooth(component: int) -> None:
        source, target = np.moveaxis(view[component], across, 0), np.moveaxis(smoothed[component], across, 0)
        last = len(source) - 1
        for index in range(len(source)):
            total = np.zeros(source.shape[1:], np.float32)
            for offset, weight in zip(offsets.tolist(), weights, strict=True):
                total += weight * source[min(max(index + offset, 0), last)]
            target[index] = total

    (threads or ThreadGroup()).each(smooth, range(len(view)))
    return smoothed


def _slabs(maps: NDArray[np.float32]) -> list[tuple[int, int]]:
    _, depth, height, width = maps.shape
    return bands((depth, height * width))
