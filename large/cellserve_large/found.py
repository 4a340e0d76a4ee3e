"""What was found in an image: the objects, and the label image wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from cellserve import Segmentation
from cellserve.models import ModelVersion
from cellserve.params import DiameterSource, SegmentParams
from cellserve.results import ResultWarning
from cellserve_contract.warnings import Warnings
from cellserve_postprocess import ObjectTable
from numpy.typing import NDArray

from .geometry import Box
from .recovery import Recovery


@dataclass(frozen=True, slots=True)
class Found:
    """The objects of an image, and how they came about.

    Attributes:
        objects: The table of objects.
        shape: Of the label image.
        dtype: Of the labels.
        read: Returns the labels of a box.
        params: All parameters as used.
        diameter_source: Where `params.diameter` came from.
        model: The network that answered.
        warnings: What to know about the result.
    """

    objects: ObjectTable
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Box], NDArray[Any]]
    params: SegmentParams
    diameter_source: DiameterSource
    model: ModelVersion
    warnings: tuple[ResultWarning, ...]

    @classmethod
    def in_parts(
        cls,
        recovery: Recovery,
        params: SegmentParams,
        diameter_source: DiameterSource,
        model: ModelVersion,
        warnings: tuple[ResultWarning, ...],
    ) -> Self:
        """Returns what was found part by part."""
        shape = recovery.grid.shape
        return cls(recovery.objects, shape, recovery.dtype, recovery.read, params, diameter_source, model, warnings)

    @classmethod
    def at_once(cls, result: Segmentation) -> Self:
        """Returns what one request found."""
        labels, columns = result.labels, result.table
        places = range(labels.ndim)
        objects = ObjectTable(
            label=columns["label"].astype(np.uint32),
            bbox=_side_by_side([columns[f"bbox-{n}"] for n in range(2 * labels.ndim)], np.int32),
            centroid=_side_by_side([columns[f"centroid-{n}"] for n in places], np.float32),
            area=columns["area"],
            **{
                name: columns[name].astype(np.float32)
                for name in ("equivalent_diameter_area", "mean_probability", "flow_error")
            },
        )
        return cls(
            objects,
            labels.shape,
            labels.dtype,
            lambda box: labels[box.slices],
            result.params,
            result.diameter_source,
            result.model,
            result.warnings,
        )

    @property
    def axes(self) -> str:
        """Axes of the label image: "YX" or "ZYX"."""
        return "ZYX"[-len(self.shape) :]


def _side_by_side(columns: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.stack(columns, axis=1).astype(dtype)


def result_warnings(warnings: Warnings) -> tuple[ResultWarning, ...]:
    """Returns warnings as answers have them."""
    return tuple(
        ResultWarning(kind.name.lower(), kind.meaning, kind.suggestion, dict(facts)) for kind, facts in warnings
    )
