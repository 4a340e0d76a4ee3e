"""Flow fields that masks are recovered from: of real label images, and of the networks on the same real images."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from cellserve import Client, SegmentParams
from cellserve_evaluation.labels import read_labels
from cellserve_postprocess import FLOW_SCALE, median_diameter
from cellserve_training.targets import masks_to_flows
from numpy.typing import NDArray

OBJECT_SIZE = 30.0
"""Diameter of the objects of a mosaic if nothing else is said, in pixels."""
PATCH = 256
"""Side of the pieces a mosaic is laid of, in pixels."""
PIECES = 16
"""Different pieces in a mosaic; a larger one repeats them, mirrored."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image.

    Attributes:
        name: Where it comes from.
        image: uint8 [Y, X].
        labels: int32 [Y, X], numbered 1..N.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def samples(data: Path, part: str = "test") -> Iterator[Sample]:
    """Yields the images of one part of the data, "train" or "test", that hold objects."""
    for path in sorted(data.glob(f"*/{part}/*_img.png")):
        image = imagecodecs.imread(path)
        if image.ndim == 3:
            image = image.mean(axis=2).astype(np.uint8)
        labels = numbered(read_labels(path.with_name(path.name.replace("_img", "_masks"))))
        if labels.any():
            yield Sample(f"{path.parts[-3]}/{path.stem.removesuffix('_img')}", image, labels)


def mosaic(data: Path, side: int, objects: int, size: float = OBJECT_SIZE) -> Sample:
    """Lays a square of pieces of real images, each enlarged or reduced to objects of one size.

    The pieces come from the training images, which are many: they serve to measure speed, not accuracy.

    Args:
        data: Folder of the data sets.
        side: Of the mosaic, in pixels, a multiple of PATCH.
        objects: How many it should hold; the nearest that PIECES pieces make is taken.
        size: Diameter of the objects, in pixels.
    """
    places = (side // PATCH) ** 2
    pieces = _sorted_pieces(data, size)
    counts = np.array([_count(piece) for piece in pieces])
    means = np.convolve(counts, np.full(PIECES, 1 / PIECES), "valid")
    first = int(np.abs(means - objects / places).argmin())
    image = np.zeros((side, side), np.uint8)
    labels = np.zeros((side, side), np.int32)
    total = 0
    for place in range(places):
        piece = pieces[first + place % PIECES]
        turn = place // PIECES
        mirror = np.s_[:: 1 - 2 * (turn % 2), :: 1 - 2 * (turn // 2 % 2)]
        y, x = (PATCH * axis for axis in divmod(place, side // PATCH))
        window = np.s_[y : y + PATCH, x : x + PATCH]
        part = numbered(piece.labels)[mirror]
        image[window] = piece.image[mirror]
        labels[window] = np.where(part > 0, part + total, 0)
        total += int(part.max())
    return Sample(f"mosaic of {side} px, {total} objects", image, labels)


@functools.cache
def _sorted_pieces(data: Path, size: float) -> list[Sample]:
    """The pieces of all training images, those with the fewest objects first; they are read once."""
    return sorted((piece for sample in samples(data, "train") for piece in _pieces(sample, size)), key=_count)


def _pieces(sample: Sample, diameter: float) -> Iterator[Sample]:
    scale = diameter / median_diameter(sample.labels)
    size = (round(sample.image.shape[1] * scale), round(sample.image.shape[0] * scale))
    image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    labels = cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST)
    for y in range(0, labels.shape[0] - PATCH + 1, PATCH):
        for x in range(0, labels.shape[1] - PATCH + 1, PATCH):
            window = (slice(y, y + PATCH), slice(x, x + PATCH))
            yield Sample(f"{sample.name} at ({y}, {x})", _stretched(image[window]), labels[window])


def _stretched(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Maps the 1st and 99th percentile to the same grey levels everywhere: a mosaic is normalised as one image."""
    low, high = np.percentile(image, (1, 99))
    return np.clip(20 + (image - low) * (200 / max(high - low, 1)), 0, 255).astype(np.uint8)


def _count(piece: Sample) -> int:
    return int(np.unique(piece.labels).size) - 1


def perfect_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Returns what a perfect network would put out for a label image, float32 [3, Y, X]."""
    logit = np.where(labels > 0, np.float32(6), np.float32(-6))
    return np.concatenate([np.float32(FLOW_SCALE) * masks_to_flows(labels), logit[np.newaxis]])


def network_maps(client: Client, sample: Sample, ensemble: bool = True) -> NDArray[np.float32]:
    """Returns what the served networks put out for an image, float32 [3, Y, X], told its true diameter."""
    params = SegmentParams(ensemble=ensemble, diameter=median_diameter(sample.labels))
    result = client.segment(sample.image, params, outputs=("flows", "cell_probability"))
    assert result.flows is not None
    assert result.cell_probability is not None
    return np.concatenate([np.float32(FLOW_SCALE) * result.flows, result.cell_probability[np.newaxis]])


def numbered(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Returns a label image with its objects numbered 1..N."""
    values, numbers = np.unique(labels, return_inverse=True)
    return (numbers.reshape(labels.shape) + int(values[0] != 0)).astype(np.int32)
