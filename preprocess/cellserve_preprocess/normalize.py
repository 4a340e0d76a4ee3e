"""Intensities as the networks expect them: about 0 to 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from cellserve_contract.params import Normalization
from cellserve_contract.warnings import Warnings
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from .border import Border, border_fill
from .percentiles import percentiles
from .scales import Scale, choose_scales


@dataclass(frozen=True, slots=True)
class Normalized:
    """An image as the networks expect it.

    Attributes:
        planes: float32, [2, Y, X] or [2, Z, Y, X]: cytoplasm, nucleus.
        warnings: What to know about the intensities.
    """

    planes: NDArray[np.float32]
    warnings: Warnings


def normalize(planes: NDArray[Any], normalization: Normalization, threads: ThreadGroup | None = None) -> Normalized:
    """Maps intensities to the networks' input, without clipping.

    Percentiles are those of the whole image or stack, so this comes before any cutting or resizing. They leave out a
    border of fill (`border_fill`), which becomes 0 like the margin of zeros around it. A constant plane becomes zeros,
    and a plane of zeros (a missing nucleus) stays one, whatever the rule and whether or not inverted. Intensities are
    subtracted in a type that holds them exactly.

    Args:
        planes: [2, Y, X] or [2, Z, Y, X], cytoplasm and nucleus, of any real dtype, finite.
        normalization: The rule.
        threads: Threads that share the work. None: the calling thread.

    Returns:
        A new array, and warnings about planes that are constant, sparse, clipped or bordered.

    Raises:
        WorkCancelledError: The work was cancelled.
    """
    threads = threads or ThreadGroup()
    normalized = np.zeros(planes.shape, np.float32)
    intensities = [ArrayIntensities(plane, threads) for plane in planes]
    scales, warnings = choose_scales(intensities, normalization)
    for source, own, scale, target in zip(planes, intensities, scales, normalized, strict=True):
        if scale is not None:
            fill = own.found.fill if scale.bordered and own.found else None
            threads.each(partial(_map, source, target, scale, fill, normalization.invert), bands(source.shape))
    return Normalized(normalized, warnings)


def map_intensities(source: NDArray[Any], scale: Scale, invert: bool, target: NDArray[np.float32]) -> None:
    """Maps intensities to about 0 to 1, without clipping; fill is left to the caller.

    Args:
        source: Intensities, of any shape and real dtype.
        scale: The map.
        invert: x becomes 1 - x.
        target: float32 of the same shape, written to.
    """
    exact = np.float32 if np.can_cast(source.dtype, np.float32) else np.float64
    np.subtract(source, exact(scale.low), out=target, casting="same_kind", dtype=exact)
    target /= np.float32(scale.high - scale.low)
    if invert:
        np.subtract(np.float32(1), target, out=target)


def _map(
    source: NDArray[Any],
    target: NDArray[np.float32],
    scale: Scale,
    fill: NDArray[np.bool_] | None,
    invert: bool,
    rows: tuple[int, int],
) -> None:
    """Maps some rows of a plane."""
    some = slice(*rows)
    map_intensities(source[some], scale, invert, target[some])
    if fill is not None:
        target[some][fill[some]] = 0


class ArrayIntensities:
    """`Intensities` of an array.

    Args:
        values: [Y, X] or [Z, Y, X], or [n] of selected ones.
        threads: Threads that share the work.
    """

    def __init__(self, values: NDArray[Any], threads: ThreadGroup) -> None:
        self._values = values
        self._threads = threads

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the intensities."""
        return self._values.dtype

    @property
    def size(self) -> int:
        """Number of intensities."""
        return self._values.size

    @cached_property
    def found(self) -> Border | None:
        """The fill around the image."""
        return border_fill(self._values)

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        return float(self._values.min()) + 0.0, float(self._values.max()) + 0.0  # no negative zero

    def extremes(self) -> tuple[float, float]:
        """Returns the lowest and the highest intensity."""
        return self._extremes

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Returns percentiles."""
        return percentiles(self._values, percents, self._threads)

    def count(self, value: float) -> int:
        """Returns the number of intensities of a value."""
        return int(np.count_nonzero(self._values == value))

    def above(self, limit: float) -> "ArrayIntensities":
        """Returns the intensities above a limit."""
        return ArrayIntensities(self._values[self._values > limit], self._threads)

    def below(self, limit: float) -> "ArrayIntensities":
        """Returns the intensities below a limit."""
        return ArrayIntensities(self._values[self._values < limit], self._threads)

    def border(self) -> tuple[float, float] | None:
        """Returns value and share of the fill around the image."""
        return None if self.found is None else (self.found.value, self.found.share)

    def inside(self) -> "ArrayIntensities":
        """Returns the intensities without the fill."""
        return self if self.found is None else ArrayIntensities(self._values[~self.found.fill], self._threads)
