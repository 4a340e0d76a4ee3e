"""The picture of a result: a smaller copy of the image with the outlines of the objects."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from cellserve_contract.channels import MEAN, NONE
from cellserve_contract.params import SegmentParams
from cellserve_formats import Image
from cellserve_formats.lazy import LazyImage
from cellserve_formats.montage import montage_bytes
from cellserve_formats.overlay import overlay_bytes
from numpy.typing import NDArray

from .found import Found
from .geometry import Box

LONGEST = {2: 2000, 3: 640}
"""By the number of axes: pixels of the longer side of the copy, about. A picture of a volume has several panels."""
DEEPEST = 640
"""Planes of the copy of a volume."""
_PART = {2: 2048, 3: 256}  # side of the parts that the image is read in


def picture_bytes(image: LazyImage, found: Found) -> bytes:
    """Returns the picture as a PNG file.

    Pixels of the copy are means of pixels of the image. Labels are those in the middles of these.

    Args:
        image: The image.
        found: What was found.

    Raises:
        ImageError, OSError: The image cannot be read.
    """
    shape, params = found.shape, found.params
    steps = tuple(-(-length // LONGEST[len(shape)]) for length in (max(shape[-2:]),) * 2)
    if len(shape) == 3:
        steps = (-(-shape[0] // DEEPEST), *steps)
    channels = _channels(image, params)
    pixels = np.empty((len(channels), *_reduced(shape, steps)), np.float32)
    labels = np.empty(pixels.shape[1:], found.dtype)
    for box in _parts(shape, steps):
        target = tuple(
            slice(first // step, -(-last // step)) for first, last, step in zip(box.start, box.stop, steps, strict=True)
        )
        pixels[(slice(None), *target)] = [_mean(plane, steps) for plane in _read(image, box, channels)]
        middles = tuple(slice(min(step // 2, n - 1), None, step) for step, n in zip(steps, box.shape, strict=True))
        part = found.read(box)[middles]
        labels[target] = np.pad(
            part, [(0, place.stop - place.start - n) for place, n in zip(target, part.shape, strict=True)], "edge"
        )
    if len(shape) == 3:
        anisotropy = (params.anisotropy or 1.0) * steps[0] / steps[1]
        return montage_bytes(np.moveaxis(pixels, 0, 1), labels, anisotropy=anisotropy)
    two = len(channels) == 2 and params.nucleus_channel != NONE
    return overlay_bytes(Image(pixels, "CYX"), labels, *((0, 1) if two else (MEAN, NONE)))


def _channels(image: LazyImage, params: SegmentParams) -> list[int]:
    """Returns the channels that the picture shows: those of cells and nuclei, or the first three of a mean."""
    length = dict(zip(image.axes, image.shape, strict=True))
    count = length.get("C", 1) * length.get("S", 1)
    cytoplasm, nucleus = params.cytoplasm_channel, params.nucleus_channel
    assert cytoplasm is not None  # resolved
    assert nucleus is not None
    if cytoplasm == MEAN:
        return list(range(min(3, count)))
    return [cytoplasm] if nucleus == NONE else [cytoplasm, nucleus]


def _read(image: LazyImage, box: Box, channels: Sequence[int]) -> NDArray[Any]:
    """Returns channels of a box, [C, Y, X] or [C, Z, Y, X]."""
    place = dict(zip("ZYX"[-len(box.shape) :], box.slices, strict=True))
    axes = image.axes.replace("S", "C")
    pixels = image.read([place.get(axis, slice(min(channels), max(channels) + 1)) for axis in axes])
    if "C" not in axes:
        pixels, axes = pixels[np.newaxis], "C" + axes
    pixels = np.transpose(pixels, [axes.index(axis) for axis in "CZYX" if axis in axes])
    return pixels[[channel - min(channels) for channel in channels]]


def _parts(shape: tuple[int, ...], steps: tuple[int, ...]) -> Iterator[Box]:
    """Yields boxes that cover an image and begin at whole pixels of the copy."""
    side = _PART[len(shape)]
    sides = [max(step, side // step * step) for step in steps]
    for start in itertools.product(*(range(0, length, part) for length, part in zip(shape, sides, strict=True))):
        stop = (min(first + part, length) for first, part, length in zip(start, sides, shape, strict=True))
        yield Box(start, tuple(stop))


def _reduced(shape: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-length // step) for length, step in zip(shape, steps, strict=True))


def _mean(plane: NDArray[Any], steps: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns the means of so many values along each axis; the last of an axis can be of fewer values."""
    result = plane.astype(np.float64)
    for axis, step in enumerate(steps):
        starts = np.arange(0, plane.shape[axis], step)
        counts = np.diff(np.append(starts, plane.shape[axis]))
        shape = [-1 if at == axis else 1 for at in range(plane.ndim)]
        result = np.add.reduceat(result, starts, axis) / counts.reshape(shape)
    return result.astype(np.float32)
