"""Label images the tests share."""

import numpy as np
from cellserve_training.targets import masks_to_flows


def disks(shape, centres, radius):
    """Disks numbered in the order given; a later one leaves earlier ones alone."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, dtype=np.uint16)
    for number, (centre_y, centre_x) in enumerate(centres, start=1):
        inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2
        labels[inside & (labels == 0)] = number
    return labels


def boxed(shape, *boxes):
    """Rectangles (y_min, x_min, y_max, x_max), half open; a later one covers earlier ones."""
    labels = np.zeros(shape, dtype=np.uint16)
    for number, (y_min, x_min, y_max, x_max) in enumerate(boxes, start=1):
        labels[y_min:y_max, x_min:x_max] = number
    return labels


def perfect_maps(labels):
    """What a perfect network would put out for a label image."""
    logit = np.where(labels > 0, np.float32(6), np.float32(-6))
    return np.concatenate([5 * masks_to_flows(labels), logit[np.newaxis]])


def iou(labels, recovered):
    """For each object, its intersection over union with the recovered object that shares most of its pixels."""
    values = []
    for number in range(1, labels.max() + 1):
        mask = labels == number
        found = np.bincount(recovered[mask])
        found[0] = 0
        best = recovered == found.argmax() if found.any() else np.zeros_like(mask)
        values.append((mask & best).sum() / (mask | best).sum())
    return values
