"""Smaller copies of images: their sizes, and how their values are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image import PixelSize

_LARGEST_OF_SMALLEST = 512  # rows and columns of the smallest copy, at most


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image.

    Attributes:
        shape: Length of each axis.
        steps: Per axis 2 where the level has half of the values of the level above, else 1.
        scale: Per axis the length of a pixel, in pixels of the full resolution.
    """

    shape: tuple[int, ...]
    steps: tuple[int, ...]
    scale: tuple[int, ...]


def levels(axes: str, shape: tuple[int, ...], pixel_size: PixelSize | None) -> list[Level]:
    """Returns the resolutions of an image, the full one first, down to at most 512 rows and columns.

    Y and X are halved from level to level. Z is halved once the pixels of a plane are more than half as large as the
    distance of planes, so that voxels become cubes. Axes of length one are not halved.

    Args:
        axes: Letters of TCZYX.
        shape: Length of each axis.
        pixel_size: Micrometres. Voxels of unknown size are taken as cubes.
    """
    y, x = axes.index("Y"), axes.index("X")
    size = pixel_size or PixelSize(1, 1)
    distance = size.z or min(size.y, size.x)
    found = [Level(shape, (1,) * len(axes), (1,) * len(axes))]
    while max(found[-1].shape[y], found[-1].shape[x]) > _LARGEST_OF_SMALLEST:
        last = found[-1]
        in_plane = min(size.y * last.scale[y], size.x * last.scale[x])
        thin = "Z" in axes and distance * last.scale[axes.index("Z")] < 2 * in_plane
        steps = tuple(
            2 if length > 1 and (letter in "YX" or (letter == "Z" and thin)) else 1
            for letter, length in zip(axes, last.shape, strict=True)
        )
        found.append(
            Level(
                tuple(math.ceil(length / step) for length, step in zip(last.shape, steps, strict=True)),
                steps,
                tuple(scale * step for scale, step in zip(last.scale, steps, strict=True)),
            )
        )
    return found


def halved(values: NDArray[Any], steps: tuple[int, ...], *, mean: bool) -> NDArray[Any]:
    """Returns a smaller copy of a block.

    Args:
        values: The block; its first values are the first of a step.
        steps: 1 or 2 per axis.
        mean: True: means, whole numbers rounded, over the values that are there at an odd end. False: the first value
            of each step.

    Returns:
        As many values per axis as there are steps, one for a last step that is cut.
    """
    if not mean:
        return values[tuple(slice(None, None, step) for step in steps)]
    odd = [(0, length % step) for length, step in zip(values.shape, steps, strict=True)]
    whole = np.pad(values, odd, mode="edge")
    shape = [part for length, step in zip(whole.shape, steps, strict=True) for part in (length // step, step)]
    means = whole.reshape(shape).mean(axis=tuple(range(1, 2 * len(steps), 2)), dtype=np.float64)
    smaller: NDArray[Any] = (means if values.dtype.kind == "f" else np.rint(means)).astype(values.dtype)
    return smaller
