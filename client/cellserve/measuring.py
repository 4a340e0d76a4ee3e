"""Measurements of the objects of a result, and the table that shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from cellserve_contract.objects import Column, measured_column
from cellserve_formats import planes, stack
from cellserve_measurements import measure
from numpy.typing import NDArray

from .images import ImageLike

if TYPE_CHECKING:
    from .results import Segmentation


def measurements(result: Segmentation, image: ImageLike | None, groups: Collection[str]) -> dict[str, NDArray[Any]]:
    """Measures the objects of a result; see `Segmentation.measure`."""
    labels = result.labels
    pixels = _channels(result, image) if "intensity" in groups else None
    found = measure(labels, pixels, groups, result.pixel_size, result.axes, planes=_in_planes(result))
    if not np.array_equal(found.pop("label"), [entry.label for entry in result.objects]):
        raise ValueError(
            "the label image no longer has the objects of the table: measure the result before you change its labels. "
            "`cellserve_measurements.measure` measures any label image"
        )
    return found


def columns_of(result: Segmentation) -> Iterator[Column]:
    """Yields the columns of the measurements of a result. Columns of the caller have no unit and no meaning."""
    for name, values in result.measurements.items():
        known = measured_column(name, result.axes, planes=_in_planes(result))
        yield known or Column(name, "float" if np.asarray(values).dtype.kind == "f" else "int", "", "")


def rows_of(result: Segmentation) -> Iterator[dict[str, int | float]]:
    """Yields the rows of the table of a result; see `Segmentation.rows`."""
    for name, values in result.measurements.items():
        if np.shape(values) != (len(result.objects),):
            raise ValueError(
                f"the measurement {name} has the shape {np.shape(values)}, but the result has "
                f"{len(result.objects)} objects: give one number per object"
            )
    more = [np.asarray(values).tolist() for values in result.measurements.values()]
    for place, entry in enumerate(result.objects):
        yield entry.row() | {name: column[place] for name, column in zip(result.measurements, more, strict=True)}


def _channels(result: Segmentation, image: ImageLike | None) -> NDArray[Any]:
    """Returns the pixels of the image, [C, Y, X] or [C, Z, Y, X]."""
    pixels = result.source.image_of(image)
    return np.moveaxis(stack(pixels), 1, 0) if result.axes == "ZYX" else planes(pixels)


def _in_planes(result: Segmentation) -> bool:
    return result.axes == "ZYX" and result.params.stack_mode == "planes"
