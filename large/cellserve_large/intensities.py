"""The range of intensities of an image that no memory holds: what `normalize` decides from the whole, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from cellserve_contract.params import Normalization
from cellserve_contract.warnings import WarningKind, Warnings
from cellserve_preprocess.percentiles import between, ranks
from cellserve_preprocess.scales import Scale, choose_scales
from numpy.typing import NDArray

from .borders import Fill, find_fill
from .digits import BITS, count_digits, digits_of, from_key, key_of
from .execution import Runner
from .pixels import Pixels

NAME = "intensities"
"""Of the result in the run folder."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The maps of the planes' intensities.

    Attributes:
        scales: Of cytoplasm, and of nucleus if there is one; None: the plane becomes zeros.
        fills: Of each plane; None: no fill becomes zeros.
        warnings: As of `normalize`.
    """

    scales: tuple[Scale | None, ...]
    fills: tuple[Fill | None, ...]
    warnings: Warnings

    def as_json(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        return {
            "scales": [scale and asdict(scale) for scale in self.scales],
            "fills": [fill and asdict(fill) for fill in self.fills],
            "warnings": described(self.warnings),
        }

    @classmethod
    def of(cls, known: dict[str, Any]) -> Self:
        """Returns the scales from what JSON held."""
        return cls(
            tuple(scale and Scale(**scale) for scale in known["scales"]),
            tuple(fill and Fill(**fill) for fill in known["fills"]),
            warnings_of(known["warnings"]),
        )


def described(warnings: Warnings) -> list[list[Any]]:
    """Returns warnings as JSON can hold them."""
    return [[kind.name, dict(facts)] for kind, facts in warnings]


def warnings_of(known: list[list[Any]]) -> Warnings:
    """Returns the warnings that JSON held."""
    return tuple((WarningKind[name], facts) for name, facts in known)


def find_scales(pixels: Pixels, normalization: Normalization, runner: Runner) -> Scales:
    """Finds the scales of the planes in the run folder, or those that were found there before.

    Decisions are those of `choose_scales`. Counts of 8 and 16 bits come with the pixels; other types take a pass over
    the pixels for each further digit of 16 bits. A border that may be fill takes two passes.
    """
    known = pixels.store.noted(NAME)
    if known is None:
        planes = [_Intensities.of(_Counter(pixels, plane, runner)) for plane in range(pixels.count)]
        scales, warnings = choose_scales(planes, normalization)
        fills = [
            own.counter.fill() if scale and scale.bordered else None for own, scale in zip(planes, scales, strict=True)
        ]
        known = Scales(scales, tuple(fills), warnings).as_json()
        pixels.store.note(NAME, known)
    for stage in pixels.store.stages("counts"):
        pixels.store.drop(stage)
    return Scales.of(known)


class _Counter:
    """Counts the digits of a plane's intensities, those that are asked for, and keeps the counts."""

    def __init__(self, pixels: Pixels, plane: int, runner: Runner) -> None:
        self.dtype = pixels.dtype
        self.size = math.prod(pixels.grid.shape)
        self.extremes = (math.inf, -math.inf)
        self._pixels, self._plane, self._runner = pixels, plane, runner
        self._passes = 0
        self._fill: list[Fill | None] = []
        counts = np.zeros(1 << BITS, np.int64)
        for block in range(len(pixels.grid)):
            lowest, highest, digits, some = pixels.store.load(
                "pixels", block, "lowest", "highest", f"digits-{plane}", f"counts-{plane}"
            )
            counts[digits] += some
            low, high = self.extremes
            self.extremes = min(low, float(lowest[plane])), max(high, float(highest[plane]))
        self._known = {(0, 0): counts}

    def fill(self) -> Fill | None:
        """Returns the fill around the image."""
        if not self._fill:
            self._fill.append(find_fill(self._pixels, self._plane, self._runner))
        return self._fill[0]

    def counts(self, level: int, prefixes: Iterable[int]) -> list[NDArray[np.int64]]:
        """Returns the counts of a digit, int64 [2**BITS], of the keys that begin with each prefix."""
        prefixes = list(prefixes)
        missing = sorted({prefix for prefix in prefixes if (level, prefix) not in self._known})
        if missing:
            self._passes += 1
            stage = f"counts-{self._plane}-{self._passes}"
            blocks = range(len(self._pixels.grid))
            arguments = [(self._pixels, self._plane, stage, level, missing, block) for block in blocks]
            self._runner.each("percentiles", count_block, arguments)
            tables = np.zeros((len(missing), 1 << BITS), np.int64)
            for block in blocks:
                places, some = self._pixels.store.load(stage, block, "places", "counts")
                tables.ravel()[places] += some
            self._known |= {(level, prefix): table for prefix, table in zip(missing, tables, strict=True)}
        return [self._known[level, prefix] for prefix in prefixes]


def count_block(pixels: Pixels, plane: int, stage: str, level: int, prefixes: list[int], block: int) -> None:
    """Count a digit of the intensities of a block."""
    if pixels.store.has(stage, block):
        return
    counts = count_digits(pixels.block(block, plane), level, prefixes).ravel()
    places = np.flatnonzero(counts)
    pixels.store.save(stage, block, places=places, counts=counts[places])


@dataclass(frozen=True, slots=True)
class _Intensities:
    """`Intensities` of a plane in the run folder: a range of all values in ascending order, without those of the fill.

    Attributes:
        counter: Counts the digits of all values.
        first: Rank of the first value.
        size: Number of values.
        left_out: Number of values that are left out: those of the fill.
    """

    counter: _Counter
    first: int
    size: int
    left_out: int = 0

    @classmethod
    def of(cls, counter: _Counter) -> Self:
        """Returns all intensities of a plane."""
        return cls(counter, 0, counter.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the intensities."""
        return self.counter.dtype

    def extremes(self) -> tuple[float, float]:
        """Returns the lowest and the highest intensity."""
        if self.size == self.counter.size:
            low, high = self.counter.extremes
            return low + 0.0, high + 0.0  # no negative zero
        low, high = self._values([0, self.size - 1])
        return low, high

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Returns percentiles."""
        firsts, seconds, parts = zip(*(ranks(percent, self.size) for percent in percents), strict=True)
        values = self._values([*firsts, *seconds])
        return [between(*some) for some in zip(values[: len(parts)], values[len(parts) :], parts, strict=True)]

    def count(self, value: float) -> int:
        """Returns the number of intensities of a value."""
        return self._rank(value)[1]

    def above(self, limit: float) -> _Intensities:
        """Returns the intensities above a limit."""
        below, equal = self._rank(math.floor(limit) if self.dtype.kind in "iu" else limit)
        first = max(self.first, below + equal)
        return replace(self, first=first, size=self.first + self.size - first)

    def below(self, limit: float) -> _Intensities:
        """Returns the intensities below a limit."""
        below, _ = self._rank(math.ceil(limit) if self.dtype.kind in "iu" else limit)
        return replace(self, size=min(self.size, below - self.first))

    def border(self) -> tuple[float, float] | None:
        """Returns value and share of the fill around the image."""
        fill = self.counter.fill()
        return None if fill is None else (fill.value, fill.pixels / self.counter.size)

    def inside(self) -> _Intensities:
        """Returns the intensities without the fill."""
        fill = self.counter.fill()
        return self if fill is None else replace(self, size=self.size - fill.pixels, left_out=fill.pixels)

    def _values(self, wanted: Sequence[int]) -> list[float]:
        """Returns the values of some ranks."""
        found = [(0, rank + self.first) for rank in wanted]
        for level in range(digits_of(self.dtype)):
            tables = self._counts(level, [prefix for prefix, _ in found])
            longer = []
            for (prefix, rank), table in zip(found, tables, strict=True):
                up_to = np.cumsum(table)
                digit = int(np.searchsorted(up_to, rank, side="right"))
                longer.append((prefix << BITS | digit, rank - int(up_to[digit] - table[digit])))
            found = longer
        return [from_key(key, self.dtype) for key, _ in found]

    def _rank(self, value: float) -> tuple[int, int]:
        """Returns how many of all values lie below a value, and how many are equal to it."""
        key, last = key_of(value, self.dtype), digits_of(self.dtype) - 1
        below = equal = 0
        for level in range(last + 1):
            (table,) = self._counts(level, [key >> BITS * (last - level + 1)])
            digit = key >> BITS * (last - level) & ((1 << BITS) - 1)
            below += int(table[:digit].sum())
            equal = int(table[digit])
        return below, equal

    def _counts(self, level: int, prefixes: Sequence[int]) -> list[NDArray[np.int64]]:
        """Returns counts of a digit without the values of the fill."""
        tables = self.counter.counts(level, prefixes)
        fill = self.counter.fill() if self.left_out else None
        if fill is None:
            return tables
        key, shift = key_of(fill.value, self.dtype), BITS * (digits_of(self.dtype) - 1 - level)
        changed = []
        for prefix, table in zip(prefixes, tables, strict=True):
            if key >> (shift + BITS) == prefix:
                table = table.copy()
                table[key >> shift & ((1 << BITS) - 1)] -= self.left_out
            changed.append(table)
        return changed
