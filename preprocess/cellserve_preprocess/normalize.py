"""Intensities as the networks expect them: about 0 to 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from .errors import ParameterError

SMALLEST_RANGE = 1e-3
"""A channel whose percentiles lie no further apart is constant: it carries nothing but noise."""

SAMPLE = 1 << 14
"""Values in the sample that brackets a percentile, about."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """How intensities become the network's input.

    Attributes:
        rule: "percentiles" maps the percentiles `low` and `high` of each channel to 0 and 1; "range" maps the
            intensities `low` and `high` to 0 and 1, the same for every channel; "off" leaves intensities as they are.
        low: percentile (0 to 100) or intensity that becomes 0.
        high: percentile (above `low`, at most 100) or intensity (above `low`) that becomes 1.
        invert: dark objects on a bright ground: x becomes 1 - x after the rule.

    Raises:
        ParameterError: on construction, when a value is out of range.
    """

    rule: Literal["percentiles", "range", "off"] = "percentiles"
    low: float = 1.0
    high: float = 99.0
    invert: bool = False

    def __post_init__(self) -> None:
        match self.rule:
            case "percentiles":
                if not 0 <= self.low <= 100:
                    raise ParameterError("normalization.percentiles.low", self.low, "0 to 100")
                if not self.low < self.high <= 100:
                    raise ParameterError("normalization.percentiles.high", self.high, f"above {self.low}, at most 100")
            case "range":
                if not math.isfinite(self.low):
                    raise ParameterError("normalization.range.low", self.low, "a finite number")
                if not (math.isfinite(self.high) and self.low < self.high):
                    raise ParameterError("normalization.range.high", self.high, f"a finite number above {self.low}")
            case "off":
                pass
            case _:
                raise ParameterError("normalization.rule", self.rule, "percentiles, range or off")


def normalize(
    image: NDArray[np.float32], normalization: Normalization, threads: ThreadGroup | None = None
) -> NDArray[np.float32]:
    """Map intensities to the network's input, without clipping.

    Percentiles are those of the whole image, so this comes before any cutting or resizing. A constant channel becomes
    zeros, and a channel of zeros (a missing nucleus plane) stays one, whatever the rule and whether or not inverted.

    Args:
        image: float32 [2, Y, X], finite.
        normalization: the rule.
        threads: threads that share the work; the calling thread alone if left out.

    Returns:
        A new float32 array [2, Y, X].

    Raises:
        WorkCancelledError: the work was cancelled.
    """
    threads = threads or ThreadGroup()
    normalized = np.zeros_like(image, dtype=np.float32)
    for source, target in zip(image, normalized, strict=True):
        if not source.any():
            continue
        match normalization.rule:
            case "percentiles":
                low, high = percentiles(source, (normalization.low, normalization.high), threads)
                if high - low <= SMALLEST_RANGE:
                    continue
            case "range":
                low, high = normalization.low, normalization.high
            case "off":
                low, high = 0.0, 1.0
        threads.each(partial(_map, source, target, low, high, normalization.invert), bands(source.shape))
    return normalized


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
