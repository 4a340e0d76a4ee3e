"""Answers of a server that is given its label images."""

from __future__ import annotations

from typing import Any

import numpy as np
from cellserve_contract.arrays import fill_array, packing_of_labels
from cellserve_contract.warnings import WarningKind
from cellserve_formats.overlay import outlines
from cellserve_proto import v1 as pb
from numpy.typing import NDArray

_LOGIT = 6.0
"""Cell probability inside of objects; its negative outside."""


def consecutive(labels: NDArray[Any]) -> NDArray[Any]:
    """Numbers the objects of a label image 1 to N, in the order of their labels; uint16, or uint32 if there are more.

    Args:
        labels: Integers [Y, X], 0 is background.
    """
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape) + (0 not in values)
    return numbers.astype(np.uint16 if numbers.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32)


def fill_answer(answer: pb.SegmentResponse, request: pb.SegmentRequest, labels: NDArray[Any]) -> None:
    """Puts everything that follows from a label image into an answer: labels, objects, optional outputs, warnings.

    Flows point to the centre of their object. The cell probability is a logit of 6 inside of objects and -6 outside.

    Args:
        answer: The answer.
        request: What is asked for.
        labels: uint16 or uint32 [Y, X], 1 to N.
    """
    pixels = np.nonzero(labels)
    centres = _add_objects(answer, labels, pixels) if pixels[0].size else np.zeros((0, 2))
    flows = np.zeros((2, *labels.shape), np.float32)
    towards = (centres[labels[pixels] - 1] - np.stack(pixels, axis=1)).T
    flows[:, pixels[0], pixels[1]] = towards / np.maximum(np.hypot(*towards), 1e-6)
    logits = np.where(labels > 0, _LOGIT, -_LOGIT).astype(np.float32)
    maps = np.concatenate([5 * flows, logits[np.newaxis]])
    dtype = np.float16 if request.map_type == pb.DATA_TYPE_FLOAT16 else np.float32
    if request.maps_only:
        answer.ClearField("objects")
    elif not request.omit_labels:
        fill_array(answer.labels, labels, packing_of_labels(request.compression, labels.nbytes))
    if pb.OUTPUT_OUTLINES in request.outputs:
        _add_outlines(answer, labels)
    if pb.OUTPUT_FLOWS in request.outputs:
        fill_array(answer.flows, flows.astype(dtype))
    if pb.OUTPUT_CELL_PROBABILITY in request.outputs:
        fill_array(answer.cell_probability, logits.astype(dtype))
    if pb.OUTPUT_MAPS in request.outputs or request.maps_only:
        fill_array(answer.maps, maps.astype(dtype))
    if pb.OUTPUT_STYLE in request.outputs:
        answer.style.extend([1 / 16] * 256)
    if not answer.objects and not request.maps_only:
        kind = WarningKind.NOTHING_FOUND
        answer.warnings.add(kind=pb.WARNING_KIND_NOTHING_FOUND, message=kind.meaning, suggestion=kind.suggestion)


def median_diameter(labels: NDArray[Any]) -> float | None:
    """Returns the median equivalent diameter of the objects, pixels; None without objects."""
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    return float(np.median(np.sqrt(areas * 4 / np.pi))) if areas.size else None


def _add_objects(
    answer: pb.SegmentResponse, labels: NDArray[Any], pixels: tuple[NDArray[Any], ...]
) -> NDArray[np.float64]:
    """Measures the objects; returns their centres [N, 2]."""
    objects = labels[pixels]
    order = np.argsort(objects, kind="stable")
    starts = np.flatnonzero(np.diff(objects[order], prepend=0))
    areas = np.diff(starts, append=order.size)
    ordered = [along[order] for along in pixels]
    lows, highs, sums = (
        np.stack([function.reduceat(along, starts) for along in ordered], axis=1)
        for function in (np.minimum, np.maximum, np.add)
    )
    centres: NDArray[np.float64] = sums / areas[:, np.newaxis]
    measured = zip(areas.tolist(), lows.tolist(), highs.tolist(), centres.tolist(), strict=True)
    for number, (area, (y_min, x_min), (y_max, x_max), (y, x)) in enumerate(measured, start=1):
        answer.objects.add(
            label=number,
            bbox=pb.BoundingBox(z_max=1, y_min=y_min, x_min=x_min, y_max=y_max + 1, x_max=x_max + 1),
            centroid=pb.Centroid(y=y, x=x),
            area=area,
            equivalent_diameter_area=2 * (area / np.pi) ** 0.5,
            mean_probability=1.0,
            flow_error=0.0,
        )
    return centres


def _add_outlines(answer: pb.SegmentResponse, labels: NDArray[Any]) -> None:
    """Adds the border pixels of each object, in the order of their angle around the centre."""
    border = np.where(outlines(np.pad(labels, 1))[1:-1, 1:-1], labels, 0)
    for entry in answer.objects:
        y, x = np.nonzero(border == entry.label)
        order = np.argsort(np.arctan2(y - entry.centroid.y, x - entry.centroid.x))
        entry.outlines.add().points.extend(np.stack([y, x], axis=1)[order].ravel().tolist())
