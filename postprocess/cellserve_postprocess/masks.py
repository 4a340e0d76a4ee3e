"""From network outputs to masks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._arrays import kernel_floats
from ._clustering import cluster
from ._diffusion import flow_errors
from ._labels import extents, fill_holes
from ._tracking import follow_bilinear, follow_nearest
from .params import RecoveryParams

FLOW_SCALE = 5.0
"""Networks predict flows times this, which balances the terms of the training loss (paper, "Deep neural network")."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Masks found in an image.

    Attributes:
        labels: [Y, X], 0 is background, 1..N are objects; uint16 up to 65,535 objects, else uint32.
        flow_errors: float32 [N], mean squared distance between the flows of each object's shape and those predicted.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32]
    flow_errors: NDArray[np.float32]


def recover_masks(maps: NDArray[np.float32], params: RecoveryParams) -> Recovered:
    """Recover masks from the outputs of a network (paper, "Mask recovery via gradient flow tracking").

    Every pixel above the probability threshold follows the flows; pixels that end together make an object. Objects that
    are too small, too large, at the border (on request) or whose shape does not explain the predicted flows are
    dropped; then holes are filled. Sizes and flow errors are those of the shapes before filling, as in Cellpose.

    Args:
        maps: float32 [3, Y, X]: 5 * flow along y, 5 * flow along x, logit of the cell probability.
        params: validated parameters.

    Returns:
        The label image and the flow error of each object. Objects are numbered by the row, then the column, where their
        pixels converge.
    """
    if maps.ndim != 3 or maps.shape[0] != 3:
        raise ValueError(f"network outputs have axes [3, Y, X], not shape {maps.shape}")
    flow, starts = _kept(kernel_floats(maps), params.cellprob_threshold)
    follow = follow_bilinear if params.interpolation == "bilinear" else follow_nearest
    labels, count = cluster(starts, follow(flow, starts, params.niter), *maps.shape[1:])
    areas, boxes = extents(labels, count)
    plausible = (areas >= params.min_size) & (areas <= params.max_size_fraction * labels.size)
    if params.exclude_on_edges:
        plausible &= (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < labels.shape).all(axis=1)
    labels, boxes = _select(labels, boxes, plausible)
    errors = flow_errors(labels, boxes, flow)
    if params.flow_threshold > 0:
        consistent = errors <= params.flow_threshold
        labels, boxes = _select(labels, boxes, consistent)
        errors = errors[consistent]
    if params.fill_holes:
        box_areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.int64)
        fill_holes(labels, boxes, np.argsort(box_areas, kind="stable"))
    if len(boxes) <= np.iinfo(np.uint16).max:
        return Recovered(labels.astype(np.uint16), errors)
    return Recovered(labels.astype(np.uint32), errors)


def _kept(maps: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Flow of the pixels above the threshold, float32 [2, Y + 1, X + 1], zero elsewhere; and their flat indices."""
    kept = maps[2] > threshold
    flow = np.zeros((2, kept.shape[0] + 1, kept.shape[1] + 1), dtype=np.float32)
    np.divide(maps[:2], np.float32(FLOW_SCALE), out=flow[:, :-1, :-1], where=kept)
    return flow, np.flatnonzero(kept)


def _select(
    labels: NDArray[np.int32], boxes: NDArray[np.int32], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Drop unwanted objects and renumber the others 1..N in their order."""
    if wanted.all():
        return labels, boxes
    numbers = np.zeros(len(wanted) + 1, dtype=np.int32)
    numbers[1:][wanted] = np.arange(1, np.count_nonzero(wanted) + 1)
    return numbers[labels], boxes[wanted]
