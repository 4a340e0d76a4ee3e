"""Intensities as the networks expect them: about 0 to 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from cellserve_contract.params import Normalization
from cellserve_contract.warnings import Warnings
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

SMALLEST_RANGE = 1e-3
"""A channel whose percentiles lie no further apart is constant: it carries nothing but noise."""

SAMPLE = 1 << 14
"""Values in the sample that brackets a percentile, about."""


@dataclass(frozen=True, slots=True)
class Normalized:
    """An image as the networks expect it.

    Attributes:
        planes: float32 [2, Y, X]: cytoplasm, nucleus.
        warnings: What to know about the intensities.
    """

    planes: NDArray[np.float32]
    warnings: Warnings


def normalize(
    image: NDArray[np.float32], normalization: Normalization, threads: ThreadGroup | None = None
) -> Normalized:
    """Map intensities to the network's input, without clipping.

    Percentiles are those of the whole image, so this comes before any cutting or resizing. A constant channel becomes
    zeros, and a channel of zeros (a missing nucleus plane) stays one, whatever the rule and whether or not inverted.

    Args:
        image: float32 [2, Y, X], finite.
        normalization: the rule.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        A new array, and warnings about the intensities.

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    threads = threads or ThreadGroup()
    normalized = np.zeros_like(image, dtype=np.float32)
    for plane, (source, target) in enumerate(zip(image, normalized, strict=True)):
        if not source.any():
            continue
        low, high = normalization.bounds(plane)
        if normalization.rule == "percentiles":
            low, high = percentiles(source, (low, high), threads)
            if high - low <= SMALLEST_RANGE:
                continue
        threads.each(partial(_map, source, target, low, high, normalization.invert), bands(source.shape))
    return Normalized(normalized, ())


def _map(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    low: float,
    high: float,
    invert: bool,
    rows: tuple[int, int],
) -> None:
    part = target[slice(*rows)]
    np.subtract(source[slice(*rows)], np.float32(low), out=part)
    part /= np.float32(high - low)
    if invert:
        np.subtract(np.float32(1), part, out=part)


def percentiles(
    plane: NDArray[np.float32], percents: Sequence[float], threads: ThreadGroup | None = None
) -> list[float]:
    """Percentiles of a plane with linear interpolation, exactly as `np.percentile` defines them, and faster.

    A sample tells between which two values a percentile will lie. Only what lies between them is sorted out; where the
    sample misled, everything is.

    Args:
        plane: float32 [Y, X], finite, not empty.
        percents: 0 to 100.
        threads: threads that share the work.
    """
    threads = threads or ThreadGroup()
    values = plane.reshape(-1)
    sample = np.sort(values[:: max(1, values.size // SAMPLE) | 1])  # odd: no common factor with most widths
    parts = bands((values.size, 1))
    found = []
    for percent in percents:
        position = percent / 100 * (values.size - 1)
        index = math.floor(position)
        share = percent / 100 * (sample.size - 1)
        reach = 4 * math.sqrt(share * (1 - percent / 100)) + 4
        low = sample[max(0, math.floor(share - reach))] if share > reach else -np.inf
        high = sample[math.ceil(share + reach)] if share + reach < sample.size - 1 else np.inf
        between = threads.each(partial(_between, values, low, high), parts)
        below = sum(count for count, _ in between)
        inside = np.concatenate([kept for _, kept in between])
        if not below <= index <= index + 1 < below + inside.size:
            below, inside = 0, values.copy()
        inside.partition(index - below)
        first = float(inside[index - below])
        rest = inside[index - below + 1 :]
        second = float(rest.min()) if rest.size else first
        found.append(first + (second - first) * (position - index))
    return found


def _between(
    values: NDArray[np.float32], low: np.float32 | float, high: np.float32 | float, part: tuple[int, int]
) -> tuple[int, NDArray[np.float32]]:
    """How many values lie below `low`; and those from `low` to `high`."""
    some = values[slice(*part)]
    not_below = some >= low
    return some.size - int(np.count_nonzero(not_below)), some[not_below & (some <= high)]
