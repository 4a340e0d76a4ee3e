"""Agreement of two segmentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from cellserve_postprocess import kernel_labels
from cellserve_preprocess import rescaled_shape
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

BOUNDARY_DIAMETER = 30.0
"""Mean diameter, in pixels, that objects are resized to before boundaries are compared (Extended Data Fig. 6)."""
BOUNDARY_TOLERANCE = 2.0
"""Pixels, at that size, that two boundaries may lie apart."""

_LARGEST_ENLARGEMENT = 4.0  # bounds memory where labels are specks


class BoundaryScores(NamedTuple):
    """Agreement of the boundaries of two segmentations, each 0 to 1.

    Attributes:
        precision: Share of the predicted boundary that lies near a true one.
        recall: Share of the true boundary that lies near a predicted one.
        f: Harmonic mean of the two.
    """

    precision: float
    recall: float
    f: float


def average_precision(
    truth: NDArray[Any], predicted: NDArray[Any], thresholds: float | Sequence[float]
) -> NDArray[np.float64]:
    """Average precision TP / (TP + FP + FN) of one image or volume (paper, "Quantification").

    A true positive is a pair of objects whose intersection over union is at least the threshold. Objects are matched
    one to one, as many as possible: the number the Hungarian method finds, here from the few pairs that overlap at all.

    Args:
        truth, predicted: integers [Y, X] or [Z, Y, X], 0 is background; gaps in numbers count for nothing.
        thresholds: of the intersection over union, above 0, at most 1.

    Returns:
        float64, one value per threshold; 1 where both images are empty.
    """
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"thresholds are above 0 and at most 1, not {thresholds}")
    overlaps = _overlaps(truth, predicted)
    shape = overlaps.area_true.size, overlaps.area_predicted.size
    precision = np.ones(len(levels))
    if sum(shape):
        iou = overlaps.iou
        for k, level in enumerate(levels):
            pairs = iou >= level
            # The matching takes 32-bit indices only in some releases of SciPy.
            places = overlaps.row[pairs].astype(np.int32), overlaps.column[pairs].astype(np.int32)
            graph = csr_array((np.ones(pairs.sum()), places), shape=shape)
            matched = int((maximum_bipartite_matching(graph) >= 0).sum()) if pairs.any() else 0
            precision[k] = matched / (sum(shape) - matched)
    return precision


def aggregated_jaccard_index(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Aggregated Jaccard index of one image or volume (Kumar et al., IEEE Trans. Med. Imaging 36, 2017; algorithm 1).

    Every true object takes the predicted object of largest intersection over union, one predicted object serving
    several if need be. The index is the sum of their intersections over the sum of their unions, to which every
    predicted object that nobody took adds its area.

    Args:
        truth, predicted: as in `average_precision`.

    Returns:
        0 to 1; 1 where both images are empty.
    """
    overlaps = _overlaps(truth, predicted)
    # Stable, and by falling IoU: the first pair of a row is its best, the lower label where two are equal.
    order = np.argsort(-overlaps.iou, kind="stable")
    hit, best = np.unique(overlaps.row[order], return_index=True)
    taken = overlaps.column[order][best]
    intersection = overlaps.intersection[order][best].sum()
    unmatched = np.delete(overlaps.area_true, hit).sum() + np.delete(overlaps.area_predicted, taken).sum()
    union = (overlaps.area_true[hit] + overlaps.area_predicted[taken]).sum() - intersection + unmatched
    return float(intersection / union) if union else 1.0


def boundary_scores(
    truth: NDArray[Any], predicted: NDArray[Any], tolerance: float = BOUNDARY_TOLERANCE
) -> BoundaryScores:
    """Precision, recall and F score of the boundaries of one image (paper, "Quantification", Extended Data Fig. 6).

    Both label images are resized so that the mean diameter of the true objects is 30 pixels (at most fourfold: beyond
    that the tolerance shrinks instead). A boundary is the pixels of objects next to something else; the border of the
    image is none. A boundary pixel is right if one of the other image lies within the tolerance. The paper gives no
    width; ours is stated by `BOUNDARY_TOLERANCE`.

    Args:
        truth, predicted: integers [Y, X], 0 is background; gaps in numbers count for nothing.
        tolerance: Euclidean distance in pixels of the resized images.

    Returns:
        All three 1 where both images are empty, all three 0 where one of them is.
    """
    _check_shapes(truth, predicted)
    if tolerance < 0:
        raise ValueError(f"a tolerance is 0 or more, not {tolerance}")
    labels = kernel_labels(truth), kernel_labels(predicted)
    areas = np.unique(labels[0][labels[0] > 0], return_counts=True)[1]
    if areas.size:
        wanted = BOUNDARY_DIAMETER / float(np.mean(2 * np.sqrt(areas / np.pi)))
        scale = min(wanted, _LARGEST_ENLARGEMENT)
        labels = _resized(labels[0], scale), _resized(labels[1], scale)
        tolerance *= scale / wanted
    true, found = _boundary(labels[0]), _boundary(labels[1])
    if not (true.any() and found.any()):
        # Without a boundary an image is empty or one object fills it.
        same = not true.any() and not found.any() and labels[0].any() == labels[1].any()
        return BoundaryScores(*[float(same)] * 3)
    precision = float(_near(true, tolerance)[found].mean())
    recall = float(_near(found, tolerance)[true].mean())
    both = precision + recall
    return BoundaryScores(precision, recall, 2 * precision * recall / both if both else 0.0)


@dataclass(frozen=True, slots=True)
class _Overlaps:
    """Pairs of objects that share pixels, objects numbered from 0 in the order of their labels.

    Attributes:
        row, column: int64 [P], true and predicted object.
        intersection: int64 [P], pixels they share.
        area_true: int64 [N], pixels of every true object.
        area_predicted: int64 [M], pixels of every predicted object.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    intersection: NDArray[np.int64]
    area_true: NDArray[np.int64]
    area_predicted: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 [P], intersection over union of each pair."""
        union = self.area_true[self.row] + self.area_predicted[self.column] - self.intersection
        return self.intersection / union


def _overlaps(truth: NDArray[Any], predicted: NDArray[Any]) -> _Overlaps:
    _check_shapes(truth, predicted)
    # Only whether pixels are the same counts, not where they lie: one row of pixels does for any axes.
    lines = kernel_labels(truth.reshape(1, -1)), kernel_labels(predicted.reshape(1, -1))
    labels_true, true, area_true = np.unique(lines[0], return_inverse=True, return_counts=True)
    labels_predicted, found, area_predicted = np.unique(lines[1], return_inverse=True, return_counts=True)
    pair, pixels = np.unique(true.astype(np.int64) * len(labels_predicted) + found, return_counts=True)
    row, column = np.divmod(pair, len(labels_predicted))
    objects = (labels_true[row] > 0) & (labels_predicted[column] > 0)
    # Background sorts first where there is any: objects are counted from the number after it.
    offset_true, offset_predicted = int(0 in labels_true), int(0 in labels_predicted)
    return _Overlaps(
        row[objects] - offset_true,
        column[objects] - offset_predicted,
        pixels[objects],
        area_true[offset_true:],
        area_predicted[offset_predicted:],
    )


def _check_shapes(truth: NDArray[Any], predicted: NDArray[Any]) -> None:
    if truth.shape != predicted.shape:
        raise ValueError(f"label images of shapes {truth.shape} and {predicted.shape} cannot be compared")


def _resized(labels: NDArray[np.int32], scale: float) -> NDArray[np.int32]:
    """A label image by the label nearest to each new pixel's centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for old, new in zip(labels.shape, rescaled_shape(labels.shape, scale), strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _boundary(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of objects with a neighbour, above, below, left or right, of another label."""
    boundary = np.zeros(labels.shape, dtype=bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[here] != labels[there]
        boundary[here] |= differs
        boundary[there] |= differs
    return boundary & (labels > 0)


def _near(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Pixels within a Euclidean distance of a mask."""
    reach = np.arange(-int(distance), int(distance) + 1)
    disk = (reach[:, None] ** 2 + reach**2 <= distance**2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disk).astype(bool)
