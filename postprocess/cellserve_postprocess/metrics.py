"""Agreement of two segmentations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ._arrays import kernel_labels


def average_precision(
    truth: NDArray[Any], predicted: NDArray[Any], thresholds: float | Sequence[float]
) -> NDArray[np.float64]:
    """Average precision TP / (TP + FP + FN) of one image (paper, "Quantification").

    A true positive is a pair of objects whose intersection over union is at least the threshold. Objects are matched
    one to one, as many as possible: the number the Hungarian method finds, here from the few pairs that overlap at all.

    Args:
        truth, predicted: integers [Y, X], 0 is background; gaps in numbers count for nothing.
        thresholds: of the intersection over union, above 0, at most 1.

    Returns:
        float64, one value per threshold; 1 where both images are empty.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label images of shapes {truth.shape} and {predicted.shape} cannot be compared")
    levels = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"thresholds are above 0 and at most 1, not {thresholds}")
    rows, columns, iou, shape = _overlaps(kernel_labels(truth), kernel_labels(predicted))
    precision = np.ones(len(levels))
    if sum(shape):
        for k, level in enumerate(levels):
            pairs = iou >= level
            # The matching takes 32-bit indices only in some releases of SciPy.
            places = rows[pairs].astype(np.int32), columns[pairs].astype(np.int32)
            graph = csr_array((np.ones(pairs.sum()), places), shape=shape)
            matched = int((maximum_bipartite_matching(graph) >= 0).sum()) if pairs.any() else 0
            precision[k] = matched / (sum(shape) - matched)
    return precision


def _overlaps(
    truth: NDArray[np.int32], predicted: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], tuple[int, int]]:
    """Pairs of objects that share pixels: rows, columns, intersections over union; and the numbers of objects."""
    labels_true, true = np.unique(truth, return_inverse=True)
    labels_predicted, found = np.unique(predicted, return_inverse=True)
    pair, pixels = np.unique(true.astype(np.int64) * len(labels_predicted) + found, return_counts=True)
    row, column = np.divmod(pair, len(labels_predicted))
    area_true = np.bincount(row, weights=pixels)
    area_predicted = np.bincount(column, weights=pixels)
    iou = pixels / (area_true[row] + area_predicted[column] - pixels)
    background = (labels_true[row] == 0) | (labels_predicted[column] == 0)
    # Background sorts first where there is any: objects are counted from the number after it.
    offset_true = int(0 in labels_true)
    offset_predicted = int(0 in labels_predicted)
    return (
        row[~background] - offset_true,
        column[~background] - offset_predicted,
        iou[~background],
        (len(labels_true) - offset_true, len(labels_predicted) - offset_predicted),
    )
