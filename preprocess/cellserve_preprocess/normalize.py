"""Intensities as the networks expect them: about 0 to 1."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from cellserve_contract.params import Normalization
from cellserve_contract.warnings import Warned, WarningKind, Warnings
from cellserve_parallel import ThreadGroup, bands
from numpy.typing import NDArray

from .border import border_fill
from .percentiles import percentiles

ROUNDING = 4
"""Values that differ by no more steps of their type are one value: arithmetic of a constant leaves as much."""

CELLPOSE_RANGE = 1e-3
"""Cellpose 3.1 takes a plane for constant if its percentiles lie no further apart, whatever its values."""

CLIPPED_SHARE = 0.01
"""Share of the pixels at the end of a detector's range, at least, of a clipped plane: the 99th percentile is there."""

FULL_SCALE = frozenset([1.0, *(2.0**bits - 1 for bits in (8, 10, 12, 14, 15, 16, 32))])
"""Ends of the ranges of detectors and of types, and of images that were scaled to 1."""

PLANES = ("cytoplasm", "nucleus")


@dataclass(frozen=True, slots=True)
class Normalized:
    """An image as the networks expect it.

    Attributes:
        planes: float32, [2, Y, X] or [2, Z, Y, X]: cytoplasm, nucleus.
        warnings: What to know about the intensities.
    """

    planes: NDArray[np.float32]
    warnings: Warnings


@dataclass(frozen=True, slots=True)
class _Scale:
    """The map of one plane's intensities.

    Attributes:
        low: Intensity that becomes 0.
        high: Intensity that becomes 1.
        fill: bool [Y, X] or [Z, Y, X], pixels that become 0. None: there are none.
    """

    low: float
    high: float
    fill: NDArray[np.bool_] | None = None


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
    warnings: list[Warned] = []
    for number, (source, target) in enumerate(zip(planes, normalized, strict=True)):
        if number and not source.any():
            continue  # no nuclei
        scale, found = _scale(source, normalization.rule, normalization.bounds(number), threads)
        warnings += [(kind, {"plane": PLANES[number], **facts}) for kind, facts in found]
        if scale is not None:
            threads.each(partial(_map, source, target, scale, normalization.invert), bands(source.shape))
    return Normalized(normalized, tuple(warnings))


def _scale(
    plane: NDArray[Any], rule: str, bounds: tuple[float, float], threads: ThreadGroup
) -> tuple[_Scale | None, list[Warned]]:
    """Returns the map of a plane [Y, X] or a stack [Z, Y, X], None if it becomes zeros; and warnings."""
    lowest, highest = float(plane.min()), float(plane.max())
    if _is_one_value(lowest, highest, plane.dtype):
        stays = rule in ("range", "off") and highest != 0
        return _Scale(*bounds) if stays else None, [(WarningKind.CONSTANT_PLANE, {"value": f"{highest:g}"})]
    if rule in ("range", "off"):
        return _Scale(*bounds), []
    if rule == "cellpose3":
        low, high = percentiles(plane, bounds, threads)
        if high - low > CELLPOSE_RANGE:
            return _Scale(low, high), []
        return None, [(WarningKind.CONSTANT_PLANE, {"value": f"{low:g}"})]
    warnings: list[Warned] = []
    border = border_fill(plane)
    values = plane if border is None else plane[~border.fill]
    if border is not None and _is_one_value(float(values.min()), float(values.max()), plane.dtype):
        border, values = None, plane  # two values, as of a drawn mask: no image is inside of the border
    if border is not None:
        facts = {"value": f"{border.value:g}", "share": f"{border.share:.3g}"}
        warnings.append((WarningKind.BORDER_LEFT_OUT, facts))
    low, high = percentiles(values, bounds, threads)
    if _is_one_value(low, high, plane.dtype):
        low, high = _sparse_range(values, low, bounds, threads)
        warnings.append((WarningKind.PERCENTILES_EQUAL, {"low": f"{low:g}", "high": f"{high:g}"}))
    elif high in FULL_SCALE and high == highest:
        share = np.count_nonzero(values == highest) / values.size
        if share >= CLIPPED_SHARE:
            warnings.append((WarningKind.VALUES_CLIPPED, {"value": f"{high:g}", "share": f"{share:.3g}"}))
    return _Scale(low, high, None if border is None else border.fill), warnings


def _is_one_value(low: float, high: float, dtype: np.dtype[Any]) -> bool:
    """Tells whether two values are equal but for the rounding of their type."""
    return high - low <= _rounding(max(abs(low), abs(high)), dtype)


def _rounding(value: float, dtype: np.dtype[Any]) -> float:
    """Returns the largest difference from a value that is rounding of its type."""
    return ROUNDING * float(np.finfo(dtype).eps) * abs(value) if dtype.kind == "f" else 0.0


def _sparse_range(
    values: NDArray[Any], usual: float, bounds: tuple[float, float], threads: ThreadGroup
) -> tuple[float, float]:
    """Returns the range of an image of which nearly all pixels have one value: from there to a percentile of the rest.

    The rest are bright objects on an exact background, or dark ones.
    """
    margin = _rounding(usual, values.dtype)
    above, below = values[values > usual + margin], values[values < usual - margin]
    if above.size >= below.size:
        return usual, percentiles(above, bounds[1:], threads)[0]
    return percentiles(below, bounds[:1], threads)[0], usual


def _map(source: NDArray[Any], target: NDArray[np.float32], scale: _Scale, invert: bool, rows: tuple[int, int]) -> None:
    """Maps some rows of a plane."""
    band, part = source[slice(*rows)], target[slice(*rows)]
    exact = np.float32 if np.can_cast(band.dtype, np.float32) else np.float64
    np.subtract(band, exact(scale.low), out=part, casting="same_kind", dtype=exact)
    part /= np.float32(scale.high - scale.low)
    if invert:
        np.subtract(np.float32(1), part, out=part)
    if scale.fill is not None:
        part[scale.fill[slice(*rows)]] = 0
