"""From the fine bins of a histogram to bars that fit on a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .histogram import Histogram

_MOST_BARS, _FEWEST_BARS = 40, 10
_FEWEST_UNITS = 10  # an axis of counts is so long at least
_FEWEST_SIZES = 16  # fine bins: an axis of sizes spans two doublings at least
_TAIL = 0.002  # share of the sizes beyond either end of an axis
_OUTLIER = 3.0  # times the 99th percentile: values above have a bar of their own
_FREE = 0.82
_NICE = (1, 2, 5)
_TICKS = 7


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart.

    Attributes:
        low: The smallest value; 0 for a bar of all smaller sizes.
        high: The value where the next bar begins; infinite for a bar of all larger values.
        count: Number of values.
        left: Place of its left edge on the axis, 0 to 1.
        right: Place of its right edge.
    """

    low: float
    high: float
    count: int
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its text, and its place from 0 to 1."""

    text: str
    place: float


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of a histogram, side by side, and the marks of their axis."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def bars_of(histogram: Histogram) -> Bars:
    """Returns the bars of a histogram: sizes on a logarithmic axis, counts on a linear one.

    Returns:
        40 bars and a few at most, 10 for few values. An empty histogram has none.
    """
    if not histogram.bins:
        return Bars((), ())
    return _size_bars(histogram) if histogram.rule == "sizes" else _count_bars(histogram)


def height_ticks(highest: int) -> list[int]:
    """Returns round numbers from 0 up to at least the height of the highest bar."""
    step = max(1, _nice_at_least(highest / 4))
    return list(range(0, highest + step, step))


def _size_bars(histogram: Histogram) -> Bars:
    most = _bars_for(histogram.values)
    first, last = histogram.bins[0][0], histogram.bins[-1][0]
    if last - first >= most:  # the outermost bars hold all sizes beyond
        first, last = max(first, histogram.bin_at(_TAIL) - 1), min(last, histogram.bin_at(1 - _TAIL) + 1)
    missing = max(0, _FEWEST_SIZES - (last - first + 1))
    first, last = first - missing // 2, last + (missing + 1) // 2
    together = 1
    while last // together - first // together >= most:
        together *= 2
    first, shown = first // together, last // together - first // together + 1
    counts = [0] * shown
    for number, count in histogram.bins:
        counts[min(max(number // together - first, 0), shown - 1)] += count
    edges = [histogram.edges((first + at) * together)[0] for at in range(shown + 1)]
    low, high = edges[0], edges[-1]
    ticks = [
        Tick(f"{value:,.0f}" if value >= 1 else f"{value:g}", math.log(value / low) / math.log(high / low))
        for value in _round_sizes(low, high)
    ]
    if histogram.range[0] < low:
        edges[0] = 0.0
    if histogram.range[1] > high:
        edges[-1] = math.inf
    bars = [
        Bar(start, end, count, at / shown, (at + 1) / shown)
        for at, (count, (start, end)) in enumerate(zip(counts, pairwise(edges), strict=True))
    ]
    return Bars(tuple(bars), tuple(ticks))


def _round_sizes(low: float, high: float) -> Iterator[float]:
    """Yields 1, 2, 5, 10, 20 ... of a range; only powers of ten, or of thousand, where these would be too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every, factors = (1, _NICE) if math.log10(high / low) < _TICKS / 3 else (1 + len(decades) // (_TICKS + 1), (1,))
    for decade in decades:
        for factor in factors if decade % every == 0 else ():
            if low <= (value := float(f"{factor}e{decade}")) <= high:
                yield value


def _count_bars(histogram: Histogram) -> Bars:
    least, most = int(histogram.range[0]), int(histogram.range[1])  # most: one past the largest
    usual = histogram.quantile(0.99)
    end = int(usual) + 1 if most - 1 > _OUTLIER * max(usual, _FEWEST_UNITS) else most
    start = least if 2 * least > end else 0
    if end - start < _FEWEST_UNITS:
        start = max(0, start - (_FEWEST_UNITS - (end - start)) // 2)
        end = start + _FEWEST_UNITS
    width = _nice_at_least((end - start) / _bars_for(histogram.values))
    start = start // width * width
    shown = -(-(end - start) // width)
    counts = [0] * (shown + 1)
    for number, count in histogram.bins:
        counts[min(int(histogram.edges(number)[0] - start) // width, shown)] += count
    if not counts[shown]:
        counts.pop()
    lows = [start + at * width for at in range(len(counts))]
    bars = tuple(
        Bar(low, low + width if at < shown else math.inf, count, at / len(counts), (at + 1) / len(counts))
        for at, (low, count) in enumerate(zip(lows, counts, strict=True))
    )
    # A bar of one number bears this number below its middle; others bear the number at which they begin, at their edge.
    middle = 0.5 if width == 1 else 0.0
    step = _nice_at_least(shown * width / _TICKS, multiple_of=width)
    ticks = [Tick(f"{low:,}", (at + middle) / len(counts)) for at, low in enumerate(lows[:shown]) if low % step == 0]
    if len(counts) > shown:
        ticks = [tick for tick in ticks if tick.place < _FREE]  # room for a longer text
        ticks.append(Tick(f"{lows[shown]:,} or more", 1))
    return Bars(bars, tuple(ticks))


def _bars_for(values: int) -> int:
    """Returns how many bars to draw at most: few values make few bars, because bars of one or none show no shape."""
    return min(_MOST_BARS, max(_FEWEST_BARS, 2 * math.isqrt(values)))


def _nice_at_least(value: float, multiple_of: int = 1) -> int:
    """Returns the smallest of 1, 2, 5, 10, 20, 50 ... that is not below a value and a multiple of another number."""
    decade = 1
    while True:
        for factor in _NICE:
            if factor * decade >= value and factor * decade % multiple_of == 0:
                return factor * decade
        decade *= 10
