"""From the maps of three views to the maps of a volume (paper, "3D models")."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_parallel import ThreadGroup, bands
from cellserve_preprocess import SECTION_AXES
from numpy.typing import NDArray

_REACH = 3.0
"""Standard deviations that the smoothing reaches."""


class ViewSums:
    """The weighted sums or means of the maps of three views: of each component of the flow, and of the logit.

    Each component of the flow is seen by two views. Sums are in single precision; add views in the same order to get
    the same bits.

    Attributes:
        sums: float32 [4, Z, Y, X], the weighted maps of the views added so far.
        weights: float64 [4], the weights of these views.

    Args:
        shape: (Z, Y, X) of the volume.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.sums: NDArray[np.float32] = np.zeros((4, *shape), np.float32)
        self.weights: NDArray[np.float64] = np.zeros(4)

    @classmethod
    def of(cls, sums: NDArray[np.float32], weights: NDArray[np.float64]) -> Self:
        """Returns sums of views that were added elsewhere; the arrays become the attributes."""
        views = cls((0, 0, 0))
        views.sums, views.weights = sums, weights
        return views

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
        self.weights[list(components)] += weight

        def add(planes: tuple[int, int]) -> None:
            some = slice(*planes)
            for component, maps in zip(components, view, strict=True):
                self.sums[component, some] += np.float32(weight) * maps[some]

        (threads or ThreadGroup()).each(add, _slabs(view))

    def maps(self, threads: ThreadGroup | None = None, mean: bool = True) -> NDArray[np.float32]:
        """Returns the means, float32 [4, Z, Y, X]: 5 * flow along z, y and x, and logit.

        A component that no view of weight above 0 shows is 0. No views can be added any more.

        Args:
            threads: threads that share the work; the calling thread alone if left out.
            mean: False returns the sums instead.

        Raises:
            WorkCancelledError: the work was cancelled.
        """
        maps, self.sums = self.sums, np.empty((4, 0, 0, 0), np.float32)
        if not mean:
            return maps
        shares = [np.float32(1 / weight if weight else 0) for weight in self.weights]

        def divide(planes: tuple[int, int]) -> None:
            for component, share in zip(maps, shares, strict=True):
                component[slice(*planes)] *= share

        (threads or ThreadGroup()).each(divide, _slabs(maps))
        return maps


def view_rule(across: int, params: SegmentParams) -> tuple[float, float]:
    """Returns how a view becomes a part of a volume: standard deviation of its smoothing in sections, and its weight.

    Args:
        across: axis that the sections are cut across.
        params: resolved, with a diameter and an anisotropy.
    """
    assert params.diameter is not None  # resolved
    assert params.anisotropy is not None
    distance = params.anisotropy if across == 0 else 1.0
    return params.view_smoothing * params.diameter / distance, 1.0 if across == 0 else params.view_weight


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
    count = view.shape[1 + across]
    return smooth_sections(view, across, sigma, range(count), range(count), count, threads)


def smoothing_reach(sigma: float, count: int) -> int:
    """Returns how many sections on each side of a section count for it; `count` is the number of all sections."""
    return len(_gaussian(sigma, count)) // 2


def smooth_sections(
    window: NDArray[np.float32],
    across: int,
    sigma: float,
    held: range,
    wanted: range,
    count: int,
    threads: ThreadGroup | None = None,
) -> NDArray[np.float32]:
    """Smooths some sections of a view: those of `smooth_view` of the whole view, bit for bit.

    Args:
        window: float32 [C, Z, Y, X], a part of the view.
        across: as in `smooth_view`.
        sigma: as in `smooth_view`.
        held: the sections of the window: those wanted, and `smoothing_reach` sections on each side, as far as the view
            goes.
        wanted: sections that are smoothed.
        count: number of sections of the view.
        threads: as in `smooth_view`.

    Returns:
        float32 [C, Z, Y, X]; sections of `window` itself if sigma is too small to change anything.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    weights = _gaussian(sigma, count)
    if len(weights) == 1:
        some = [slice(None)] * 4
        some[1 + across] = slice(wanted.start - held.start, wanted.stop - held.start)
        return window if held == wanted else window[tuple(some)]
    shape = list(window.shape)
    shape[1 + across] = len(wanted)
    smoothed = np.empty(shape, np.float32)
    reach = len(weights) // 2

    def smooth(component: int) -> None:
        source, target = np.moveaxis(window[component], across, 0), np.moveaxis(smoothed[component], across, 0)
        for index, result in zip(wanted, target, strict=True):
            total = np.zeros(source.shape[1:], np.float32)
            for offset, weight in enumerate(weights, -reach):
                total += weight * source[min(max(index + offset, 0), count - 1) - held.start]
            result[:] = total

    (threads or ThreadGroup()).each(smooth, range(len(window)))
    return smoothed


def _gaussian(sigma: float, count: int) -> NDArray[np.float32]:
    """Returns the weights of a section and its neighbours on each side; of the section alone if nothing changes."""
    reach = min(math.ceil(_REACH * sigma), count - 1)
    offsets = np.arange(-reach, reach + 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weights = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    weights = (weights / weights.sum()).astype(np.float32)
    return np.ones(1, np.float32) if weights.max() == 1 else weights


def _slabs(maps: NDArray[np.float32]) -> list[tuple[int, int]]:
    _, depth, height, width = maps.shape
    return bands((depth, height * width))
