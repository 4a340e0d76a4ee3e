"""Measurements of all objects of a label image, by column of the table of objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from cellserve_contract.objects import GROUPS, intensity_columns, shape_columns
from numpy.typing import NDArray

from .hulls import plane_solidity
from .intensities import intensities
from .moments import moments
from .perimeters import perimeters
from .runs import Runs, runs_of
from .volume_hulls import volume_solidity


class PixelSize(Protocol):
    """Micrometres between neighbouring pixels, such as `cellserve.PixelSize`; z is None where unknown."""

    @property
    def y(self) -> float:
        """Along the axis Y."""

    @property
    def x(self) -> float:
        """Along X."""

    @property
    def z(self) -> float | None:
        """Between planes."""


def measure(
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[Any] | None = None,
    groups: Collection[str] = GROUPS,
    pixel_size: PixelSize | None = None,
    axes: str = "YX",
    *,
    planes: bool = False,
) -> dict[str, NDArray[Any]]:
    """Measures objects. The values are those of scikit-image's `regionprops_table` with the same names.

    Columns without a unit follow from the shape in micrometres if the pixel size is known: that is another shape than
    the one in pixels, if pixels are not as long as they are wide.

    Args:
        labels: [Y, X], or [Z, Y, X] for volumes: 0 is background, each other number is one object.
        pixels: The image: as large as `labels`, or with an axis of channels before those of `labels`. Real numbers.
            Needed for the group "intensity".
        groups: "shape" and "intensity", or one of them.
        pixel_size: Pixel size of the image; None if unknown. Without z, nothing of a volume is in micrometres.
        axes: "YX" or "ZYX".
        planes: Whether each object of "ZYX" lies in one plane, as those of the stack mode "planes": areas and axes are
            then those in the plane.

    Returns:
        int64 or float64 [N] by column: `label`, ascending, then those of `cellserve_contract.objects.shape_columns` and
        `intensity_columns`.

    Raises:
        ValueError: A group is unknown, the pixels are missing or have another size, or an object that should lie in one
            plane does not.
        TypeError: Labels are no whole numbers, pixels are no real numbers, or `groups` is one word.
        MissingExtraError: The shape of volumes needs SciPy, which is not installed (extra `measurements`).
    """
    _check(labels, pixels, groups, axes)
    volume = labels if axes == "ZYX" else labels[np.newaxis]
    runs = runs_of(volume)
    if planes:
        _check_planes(runs)
    result: dict[str, NDArray[Any]] = {"label": runs.labels}
    if "shape" in groups:
        spacing = None if pixel_size is None else [getattr(pixel_size, axis.lower()) for axis in axes]
        columns = shape_columns(axes, spacing, planes=planes)
        values = _shape(volume, runs, spacing, [column.name for column in columns], 2 if planes else len(axes))
        result |= {column.name: values[column.name] for column in columns}
    if "intensity" in groups:
        assert pixels is not None
        result |= _intensity(labels != 0, runs, pixels if pixels.ndim > labels.ndim else pixels[np.newaxis])
    return result


def _shape(
    volume: NDArray[Any],
    runs: Runs,
    spacing: Sequence[float | None] | None,
    wanted: Sequence[str],
    dimensions: int,
) -> dict[str, NDArray[Any]]:
    """Returns the columns of the group `shape`; those in micrometres if they are wanted."""
    whole = moments(runs)
    shape, steps = whole.last(dimensions), np.array(spacing, np.float64)
    values: dict[str, NDArray[Any]] = {}
    values["axis_major_length"], values["axis_minor_length"] = shape.axis_lengths()
    if "centroid-0_um" in wanted:
        positions = whole.last(len(steps)).scaled(steps).centroid
        values |= {f"centroid-{n}_um": position for n, position in enumerate(positions.T)}
    if "axis_major_length_um" in wanted:
        shape = shape.scaled(steps[-dimensions:])
        values["axis_major_length_um"], values["axis_minor_length_um"] = shape.axis_lengths()
        area = runs.count() * steps[-dimensions:].prod()
        values[f"area_um{dimensions}"] = area
        values["equivalent_diameter_area_um"] = (2 * dimensions * area / np.pi) ** (1 / dimensions)
    if dimensions == 2:
        values["eccentricity"], values["orientation"] = shape.eccentricity(), shape.orientation()
        values["perimeter"] = perimeters(volume, runs.labels)
        if "perimeter_um" in wanted:
            values["perimeter_um"] = values["perimeter"] * steps[-1]
    values["solidity"] = plane_solidity(runs) if dimensions == 2 else volume_solidity(runs)
    values["touches_border"] = _touches_border(runs)
    return values


def _touches_border(runs: Runs) -> NDArray[np.int64]:
    _, rows, columns = runs.shape
    touching = (runs.y == 0) | (runs.y == rows - 1) | (runs.first == 0) | (runs.end == columns)
    return (runs.sums(touching) > 0).astype(np.int64)


def _intensity(objects: NDArray[np.bool_], runs: Runs, channels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Returns the columns of the group `intensity`."""
    values: dict[str, NDArray[Any]] = {}
    for n, channel in enumerate(channels):
        found = intensities(runs, channel[objects])
        values[f"intensity_mean-{n}"] = found.mean
        values[f"intensity_median-{n}"] = found.median
        values[f"intensity_max-{n}"] = found.maximum
        values[f"intensity_sum-{n}"] = found.total
    return {column.name: values[column.name] for column in intensity_columns(len(channels))}


def _check(labels: NDArray[Any], pixels: NDArray[Any] | None, groups: Collection[str], axes: str) -> None:
    if isinstance(groups, str):
        raise TypeError(f"groups is a list of words: groups=[{groups!r}]")
    if unknown := set(groups) - set(GROUPS):
        raise ValueError(f"unknown groups of measurements: {', '.join(sorted(unknown))}; known: {', '.join(GROUPS)}")
    if axes not in ("YX", "ZYX"):
        raise ValueError(f"the axes {axes} are unknown; known: YX and ZYX")
    if labels.ndim != len(axes):
        raise ValueError(f"a label image of axes {axes} has {len(axes)} axes, this one has {labels.ndim}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels are whole numbers, not {labels.dtype}")
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise ValueError("labels are 0 and positive numbers; this label image has negative ones")
    if "intensity" not in groups:
        return
    if pixels is None:
        raise ValueError("the group intensity needs the pixels of the image")
    if pixels.dtype.kind not in "biuf":
        raise TypeError(f"pixels of type {pixels.dtype} are not real numbers")
    if labels.shape not in (pixels.shape, pixels.shape[1:]):
        sizes = [" x ".join(map(str, shape)) for shape in (pixels.shape[-labels.ndim :], labels.shape)]
        raise ValueError(f"the image has {sizes[0]} pixels, the label image {sizes[1]}")


def _check_planes(runs: Runs) -> None:
    order = np.argsort(runs.entry, kind="stable")
    entry, z = runs.entry[order], runs.z[order]
    crossing = (entry[1:] == entry[:-1]) & (z[1:] != z[:-1])
    if crossing.any():
        label = runs.labels[entry[1:][crossing][0]]
        raise ValueError(f"the object {label} lies in several planes: measure it with planes=False")
