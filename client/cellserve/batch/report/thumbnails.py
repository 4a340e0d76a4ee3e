"""Small pictures of segmented images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from cellserve_formats import Image, stack
from cellserve_formats.overlay import PALETTE, outlines, render
from numpy.typing import NDArray

SIDE = 256
"""Pixels of the longer side of a thumbnail, at most."""

# JPEG, because PNG files of photographs are four to five times as large, and WebP files of the same size take 15 ms to
# make instead of 0.3 ms. Colours of half the resolution save a third, and lines stay sharp by their brightness.
_QUALITY, _COLOURS = 65, "420"

Edges = list[NDArray[np.intp]]
"""For each axis where the pixels of the picture begin in the image, and where the last one ends."""


def thumbnail(image: Image, labels: NDArray[Any], cytoplasm: int = -1, nucleus: int = -1) -> bytes:
    """Draws the objects of an image on a small picture of the image.

    Args:
        image: The image; no time series. A stack shows its middle plane.
        labels: Unsigned integers [Y, X], or [Z, Y, X] of a stack; 0 is background.
        cytoplasm: Plane that shows cells; -1: all planes.
        nucleus: Plane that shows nuclei; -1: none.

    Returns:
        A JPEG file of `SIDE` pixels along its longer side at most. Smaller images keep their size. Outlines are one
        pixel wide at the size of the picture; objects smaller than a pixel of the picture are a dot.

    Raises:
        ImageError: AXES_UNKNOWN: the image is a time series, or has channels and colour samples at once.
        ValueError: The labels have another size than the image.
    """
    planes = stack(image)
    if labels.ndim == 2:
        labels = labels[np.newaxis]
    if labels.shape != (len(planes), *planes.shape[2:]):
        raise ValueError(f"labels of shape {labels.shape} do not fit an image of shape {image.pixels.shape}")
    middle = len(planes) // 2
    channels, objects = planes[middle], labels[middle]
    if cytoplasm >= 0:  # only the planes that the picture shows
        chosen = [cytoplasm] if nucleus in (-1, cytoplasm) else [cytoplasm, nucleus]
        channels, cytoplasm, nucleus = channels[chosen], 0, len(chosen) - 1 or -1
    edges = [_edges(length, max(objects.shape)) for length in objects.shape]
    small = Image(np.stack([_shrunk(channel, edges, _mean) for channel in channels]), "CYX")
    picture = _outlined(render(small, cytoplasm, nucleus), _small_labels(objects, edges))
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=_QUALITY, subsampling=_COLOURS))


def _edges(length: int, longest: int) -> NDArray[np.intp]:
    """Returns where the pixels of the picture begin along an axis of the image, and where the last one ends."""
    shown = length if longest <= SIDE else max(1, length * SIDE // longest)
    return np.arange(shown + 1) * length // shown


def _shrunk(pixels: NDArray[Any], edges: Edges, merged: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Merges the pixels of the image [Y, X] that make a pixel of the picture, along Y, then along X.

    Args:
        pixels: [Y, X].
        edges: Of both axes.
        merged: Merges along the first axis.
    """
    for axis in edges:  # each round exchanges the axes
        pixels = np.stack([merged(pixels[start:end]) for start, end in pairwise(axis.tolist())], axis=-1)
    return pixels


def _mean(part: NDArray[Any]) -> NDArray[Any]:
    mean: NDArray[Any] = np.add.reduce(part, axis=0, dtype=np.float32) / np.float32(len(part))
    return mean


def _small_labels(labels: NDArray[Any], edges: Edges) -> NDArray[Any]:
    """Returns the label in the middle of each pixel of the picture. Objects that are in no middle get a pixel, too."""
    rows, columns = edges
    small: NDArray[Any] = labels[np.ix_((rows[:-1] + rows[1:]) // 2, (columns[:-1] + columns[1:]) // 2)]
    shown = np.zeros(int(labels.max(initial=0)) + 1, bool)
    shown[small] = True
    if shown[1:].all():
        return small
    largest = _shrunk(labels, edges, lambda part: part.max(axis=0))
    merged: NDArray[Any] = np.where(shown[largest], small, largest)
    return merged


def _outlined(picture: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Draws outlines, all in the colour that differs most from the picture: neighbours' colours take too long."""
    lines = outlines(labels)
    if lines.any():
        grounds = np.vstack(
            [np.percentile(picture[lines], (10, 50, 90), axis=0), np.median(picture[::4, ::4], axis=(0, 1))]
        )
        distances = np.linalg.norm(PALETTE[:, np.newaxis] - grounds, axis=2).min(axis=1)
        picture[lines] = PALETTE[np.argmax(distances)]
    return picture
