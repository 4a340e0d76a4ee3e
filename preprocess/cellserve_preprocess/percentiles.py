"""Percentiles of large planes."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

SAMPLE = 1 << 14
"""Values in the sample that brackets a percentile, about."""


def percentiles(plane: NDArray[Any], percents: Sequence[float], threads: ThreadGroup | None = None) -> list[float]:
    """Returns percentiles with linear interpolation, exactly as `np.percentile` defines them, and faster.

    Args:
        plane: [Y, X] or [n] of any real dtype, finite, not empty.
        percents: 0 to 100.
        threads: Threads that share the work. None: the calling thread.
    """
    threads, values = threads or ThreadGroup(), plane.reshape(-1)
    if values.dtype in (np.uint8, np.uint16):
        return _by_histogram(values, percents, threads)
    return _by_sample(values, percents, threads)


def ranks(percent: float, size: int) -> tuple[int, int, float]:
    """Returns between which two of so many values in ascending order a percentile lies, and the way to the second."""
    position = percent / 100 * (size - 1)
    index = math.floor(position)
    return index, min(index + 1, size - 1), position - index


def between(first: float, second: float, part: float) -> float:
    """Returns the percentile between two neighbouring values."""
    return first + (second - first) * part


def _by_histogram(values: NDArray[Any], percents: Sequence[float], threads: ThreadGroup) -> list[float]:
    """Counts each value."""
    bins = np.iinfo(values.dtype).max + 1
    counts = threads.each(lambda part: np.bincount(values[slice(*part)], minlength=bins), bands((values.size, 1)))
    up_to = np.cumsum(sum(counts))
    found = []
    for percent in percents:
        index, after, part = ranks(percent, values.size)
        first, second = np.searchsorted(up_to, [index, after], side="right").tolist()
        found.append(between(first, second, part))
    return found


def _by_sample(values: NDArray[Any], percents: Sequence[float], threads: ThreadGroup) -> list[float]:
    """Sorts the values between two bounds that a sample gives; all values if the sample misled."""
    sample = np.sort(values[:: max(1, values.size // SAMPLE) | 1])  # odd: no common factor with most widths
    parts = bands((values.size, 1))
    found = []
    for percent in percents:
        index, _, way = ranks(percent, values.size)
        share = percent / 100 * (sample.size - 1)
        reach = 4 * math.sqrt(share * (1 - percent / 100)) + 4
        low = sample[max(0, math.floor(share - reach))] if share > reach else None
        high = sample[math.ceil(share + reach)] if share + reach < sample.size - 1 else None
        sorted_out = threads.each(partial(_within, values, low, high), parts)
        below = sum(count for count, _ in sorted_out)
        inside = np.concatenate([kept for _, kept in sorted_out])
        if not below <= index <= index + 1 < below + inside.size:
            below, inside = 0, values.copy()
        inside.partition(index - below)
        first = float(inside[index - below])
        rest = inside[index - below + 1 :]
        second = float(rest.min()) if rest.size else first
        found.append(between(first, second, way))
    return found


def _within(
    values: NDArray[Any], low: np.generic | None, high: np.generic | None, part: tuple[int, int]
) -> tuple[int, NDArray[Any]]:
    """Returns how many values lie below `low`, and those from `low` to `high`; None is no bound."""
    some = values[slice(*part)]
    kept = np.ones(some.size, bool) if low is None else some >= low
    below = some.size - int(np.count_nonzero(kept))
    return below, some[kept if high is None else kept & (some <= high)]
