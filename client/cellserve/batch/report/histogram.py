"""Histograms with fixed bins: the histogram of a run is the sum of the histograms of its images."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

BinRule = Literal["sizes", "counts"]
"""How values fall into bins.

"sizes" are positive numbers: eight bins for each doubling, so that a bin is 9 % wide. "counts" are integers from 0:
every integer below 1024 has a bin of its own, larger ones fall into bins that are at most 0.2 % wide.
"""

_PER_DOUBLING = 8
_SMALLEST, _LARGEST = -10 * _PER_DOUBLING, 30 * _PER_DOUBLING  # bins of sizes: from 2 ** -10 to 2 ** 30
_EXACT_BITS = 10  # counts of so many bits are exact
_HALF = 1 << (_EXACT_BITS - 1)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Numbers of values by bin.

    Attributes:
        rule: How values fall into bins.
        bins: (number of the bin, values in the bin) of the bins that are not empty, in ascending order.
    """

    rule: BinRule
    bins: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_sizes(cls, values: ArrayLike) -> Self:
        """Returns the histogram of diameters.

        Args:
            values: Finite numbers above 0, any shape. Sizes below 0.001 or above 1e9 fall into the outermost bins.

        Raises:
            ValueError: A value is not finite, or not above 0.
        """
        sizes: NDArray[np.float64] = np.asarray(values, np.float64).ravel()
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError("sizes must be finite numbers above 0")
        numbers = np.clip(np.floor(np.log2(sizes) * _PER_DOUBLING), _SMALLEST, _LARGEST - 1).astype(np.int64)
        return cls("sizes", _pairs(np.unique(numbers, return_counts=True)))

    @classmethod
    def of_counts(cls, values: ArrayLike) -> Self:
        """Returns the histogram of numbers of objects.

        Args:
            values: Integers from 0, any shape; one number stands for one image.

        Raises:
            ValueError: A value is below 0, or no integer.
        """
        counts = np.asarray(values)
        if counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0):
            raise ValueError("counts must be integers from 0")
        filled: Counter[int] = Counter(_count_bin(int(count)) for count in counts.ravel())
        return cls("counts", tuple(sorted(filled.items())))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: The text is not from `to_json`.
        """
        rule, *flat = json.loads(text)
        if rule not in get_args(BinRule) or len(flat) % 2 or not all(type(entry) is int for entry in flat):
            raise ValueError(f"this is no histogram: {text[:100]!r}")
        return cls(rule, tuple(zip(flat[::2], flat[1::2], strict=True)))

    def to_json(self) -> str:
        """Returns the histogram as a short text: about 6 bytes for each bin that is not empty."""
        return json.dumps([self.rule, *(entry for pair in self.bins for entry in pair)], separators=(",", ":"))

    @classmethod
    def total(cls, rule: BinRule, histograms: Iterable[Self]) -> Self:
        """Returns the sum of any number of histograms, all of one rule.

        Raises:
            ValueError: A histogram has another rule.
        """
        filled: Counter[int] = Counter()
        for histogram in histograms:
            if histogram.rule != rule:
                raise ValueError(f"a histogram of {histogram.rule} cannot be added to one of {rule}")
            for number, count in histogram.bins:
                filled[number] += count
        return cls(rule, tuple(sorted(filled.items())))

    def __add__(self, other: Self) -> Self:
        return self.total(self.rule, (self, other))

    @property
    def values(self) -> int:
        """Number of values."""
        return sum(count for _, count in self.bins)

    @property
    def range(self) -> tuple[float, float]:
        """Lower edge of the first bin and upper edge of the last bin; (0, 0) of an empty histogram."""
        return (self.edges(self.bins[0][0])[0], self.edges(self.bins[-1][0])[1]) if self.bins else (0.0, 0.0)

    def edges(self, number: int) -> tuple[float, float]:
        """Returns the edges of a bin: values from the first up to, but not including, the second."""
        if self.rule == "sizes":
            return 2 ** (number / _PER_DOUBLING), 2 ** ((number + 1) / _PER_DOUBLING)
        shift = max(0, number // _HALF - 1)
        first = number - shift * _HALF
        return float(first << shift), float((first + 1) << shift)

    def quantile(self, share: float) -> float:
        """Returns the value below which a share of the values lies, as exactly as the bins tell.

        Args:
            share: 0 to 1; 0.5 for the median.

        Returns:
            Half a bin's width from the true quantile at most; exact for counts below 1024.

        Raises:
            ValueError: The histogram is empty.
        """
        low, high = self.edges(self.bin_at(share))
        return math.sqrt(low * high) if self.rule == "sizes" else (low + high - 1) / 2

    def bin_at(self, share: float) -> int:
        """Returns the number of the bin in which a quantile lies; argument and errors as for `quantile`."""
        if not self.bins:
            raise ValueError("an empty histogram has no quantiles")
        rank = share * (self.values - 1)
        passed = accumulate(count for _, count in self.bins)
        found = (number for (number, _), up_to in zip(self.bins, passed, strict=True) if rank < up_to)
        return next(found, self.bins[-1][0])


NO_SIZES = Histogram("sizes")
NO_COUNTS = Histogram("counts")


def _pairs(found: Sequence[NDArray[Any]]) -> tuple[tuple[int, int], ...]:
    numbers, counts = found
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def _count_bin(count: int) -> int:
    """Returns the number of a count's bin: its leading bits, and how many bits follow."""
    shift = max(0, count.bit_length() - _EXACT_BITS)
    return shift * _HALF + (count >> shift)
