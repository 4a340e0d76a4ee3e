"""Which intensities become 0 and 1: decided once, for arrays and for images that no memory holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from cellserve_contract.params import Normalization
from cellserve_contract.warnings import Warned, WarningKind, Warnings

ROUNDING = 4
"""Values that differ by no more steps of their type are one value: arithmetic of a constant leaves as much."""

CELLPOSE_RANGE = 1e-3
"""Cellpose 3.1 takes a plane for constant if its percentiles lie no further apart, whatever its values."""

CLIPPED_SHARE = 0.01
"""Share of the pixels at the end of a detector's range, at least, of a clipped plane: the 99th percentile is there."""

FULL_SCALE = frozenset([1.0, *(2.0**bits - 1 for bits in (8, 10, 12, 14, 15, 16, 32))])
"""Ends of the ranges of detectors and of types, and of images that were scaled to 1."""

PLANES = ("cytoplasm", "nucleus")


class Intensities(Protocol):
    """The intensities of a plane or a stack, or some of them. At least one, unless selected by a limit."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the intensities."""
        ...

    @property
    def size(self) -> int:
        """Number of intensities."""
        ...

    def extremes(self) -> tuple[float, float]:
        """Returns the lowest and the highest intensity."""
        ...

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Returns percentiles, as `cellserve_preprocess.percentiles` defines them."""
        ...

    def count(self, value: float) -> int:
        """Returns the number of intensities of this value, which is one of the intensities."""
        ...

    def above(self, limit: float) -> "Intensities":
        """Returns the intensities above a limit."""
        ...

    def below(self, limit: float) -> "Intensities":
        """Returns the intensities below a limit."""
        ...

    def border(self) -> tuple[float, float] | None:
        """Returns value and share of the fill around the image; None if there is none. See `border_fill`."""
        ...

    def inside(self) -> "Intensities":
        """Returns the intensities without the fill."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """The map of one plane's intensities.

    Attributes:
        low: Intensity that becomes 0.
        high: Intensity that becomes 1.
        bordered: Whether the fill around the image becomes 0.
    """

    low: float
    high: float
    bordered: bool = False


def choose_scales(
    planes: Iterable[Intensities], normalization: Normalization
) -> tuple[tuple[Scale | None, ...], Warnings]:
    """Chooses the map of each plane; see `normalize`.

    Args:
        planes: Cytoplasm, and nucleus if the image has one.
        normalization: The rule.

    Returns:
        The map of each plane, None if the plane becomes zeros; and warnings.
    """
    scales: list[Scale | None] = []
    warnings: list[Warned] = []
    for number, plane in enumerate(planes):
        scale = None
        if number == 0 or plane.extremes() != (0, 0):  # else there are no nuclei
            scale, found = _choose(plane, normalization.rule, normalization.bounds(number))
            warnings += [(kind, {"plane": PLANES[number], **facts}) for kind, facts in found]
        scales.append(scale)
    return tuple(scales), tuple(warnings)


def _choose(plane: Intensities, rule: str, bounds: tuple[float, float]) -> tuple[Scale | None, list[Warned]]:
    lowest, highest = plane.extremes()
    if _is_one_value(lowest, highest, plane.dtype):
        stays = rule in ("range", "off") and highest != 0
        return Scale(*bounds) if stays else None, [(WarningKind.CONSTANT_PLANE, {"value": f"{highest:g}"})]
    if rule in ("range", "off"):
        return Scale(*bounds), []
    if rule == "cellpose3":
        low, high = plane.percentiles(bounds)
        if high - low > CELLPOSE_RANGE:
            return Scale(low, high), []
        return None, [(WarningKind.CONSTANT_PLANE, {"value": f"{low:g}"})]
    warnings: list[Warned] = []
    border = plane.border()
    values = plane if border is None else plane.inside()
    if border is not None and _is_one_value(*values.extremes(), plane.dtype):
        border, values = None, plane  # two values, as of a drawn mask: no image is inside of the border
    if border is not None:
        value, share = border
        warnings.append((WarningKind.BORDER_LEFT_OUT, {"value": f"{value:g}", "share": f"{share:.3g}"}))
    low, high = values.percentiles(bounds)
    if _is_one_value(low, high, plane.dtype):
        low, high = _sparse_range(values, low, bounds)
        warnings.append((WarningKind.PERCENTILES_EQUAL, {"low": f"{low:g}", "high": f"{high:g}"}))
    elif high in FULL_SCALE and high == highest:
        clipped = values.count(highest) / values.size
        if clipped >= CLIPPED_SHARE:
            warnings.append((WarningKind.VALUES_CLIPPED, {"value": f"{high:g}", "share": f"{clipped:.3g}"}))
    return Scale(low, high, border is not None), warnings


def _is_one_value(low: float, high: float, dtype: np.dtype[Any]) -> bool:
    """Tells whether two values are equal but for the rounding of their type."""
    return high - low <= _rounding(max(abs(low), abs(high)), dtype)


def _rounding(value: float, dtype: np.dtype[Any]) -> float:
    """Returns the largest difference from a value that is rounding of its type."""
    return ROUNDING * float(np.finfo(dtype).eps) * abs(value) if dtype.kind == "f" else 0.0


def _sparse_range(values: Intensities, usual: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Returns the range of an image of which nearly all pixels have one value: from there to a percentile of the rest.

    The rest are bright objects on an exact background, or dark ones.
    """
    margin = _rounding(usual, values.dtype)
    above, below = values.above(usual + margin), values.below(usual - margin)
    if above.size >= below.size:
        return usual, above.percentiles(bounds[1:])[0]
    return below.percentiles(bounds[:1])[0], usual
