"""Intensities of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .runs import Runs


@dataclass(frozen=True, slots=True)
class Intensities:
    """Intensities of the pixels of each object in one channel.

    Attributes:
        mean: float64 [N].
        maximum: float64 [N].
        median: float64 [N].
        total: float64 [N], the sum.
    """

    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]
    median: NDArray[np.float64]
    total: NDArray[np.float64]


def intensities(runs: Runs, values: NDArray[Any]) -> Intensities:
    """Measures the intensities of objects. An object with a NaN has NaN only.

    Args:
        runs: The objects.
        values: [P], the pixels of all runs in one channel, run after run; real numbers.
    """
    length = runs.length
    count = runs.count().astype(np.int64)
    if not length.size:
        return Intensities(*(np.empty(0) for _ in range(4)))
    sums = np.add.reduceat(values, np.cumsum(length) - length, dtype=np.float64)
    total = runs.sums(sums)
    ordered = _ordered(np.repeat(runs.entry, length), values)
    last = np.cumsum(count) - 1
    first = last - count + 1
    low, high = ordered[first + (count - 1) // 2], ordered[first + count // 2]
    maximum = ordered[last].astype(np.float64)
    median = (low.astype(np.float64) + high.astype(np.float64)) / 2
    return Intensities(total / count, maximum, np.where(np.isnan(maximum), np.nan, median), total)


def _ordered(entry: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """Returns the values object by object, ascending, NaN last.

    Numbers of at most 32 bits become whole numbers of the same order, and are sorted together with their objects.
    """
    dtype = values.dtype
    if dtype.kind == "f" and dtype.itemsize <= 4:
        bits = values.astype(np.float32).view(np.int32).astype(np.int64)
        keys = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
        keys[np.isnan(values)] = 0x7FFFFFFF
    elif dtype.kind in "biu" and dtype.itemsize <= 4:
        keys = values.astype(np.int64)
    else:
        return values[np.lexsort((values, entry))]
    ordered = np.sort((entry << 33) + keys + (1 << 32)) & ((1 << 33) - 1)
    ordered -= 1 << 32
    if dtype.kind == "f":
        bits = np.where(ordered < 0, -ordered | 0x80000000, ordered)
        return bits.astype(np.uint32).view(np.float32)
    return ordered
