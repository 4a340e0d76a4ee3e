"""Images with named axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from cellserve_contract.axes import LETTERS, axes_problem
from cellserve_contract.warnings import Warnings
from numpy.typing import NDArray

from .errors import ImageError

MAX_INTENSITY = 1e30
"""Larger intensities overflow single precision in later steps."""
_STACKS = {"T": "a time series", "Z": "a z stack"}


class PixelSize(NamedTuple):
    """Distance between neighbouring pixels, micrometres.

    Attributes:
        y: Along the rows' axis Y.
        x: Along X.
        z: Between planes; None where unknown.
    """

    y: float
    x: float
    z: float | None = None

    @property
    def anisotropy(self) -> float | None:
        """Distance between planes in units of the mean distance between pixels of a plane; None where z is unknown."""
        return None if self.z is None else self.z / ((self.y + self.x) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Pixels whose axes are known.

    Attributes:
        pixels: One axis per letter of `axes`, any real dtype.
        axes: Distinct letters out of TCZYX and S (colour samples), Y and X among them: "YX", "CYX", "YXS", "TCZYX" ...
            "YXC" is a colour image, too.
        pixel_size: Micrometres; None where unknown.
        name: Name of the source, such as the file; "" where there is none.
        warnings: What the reader left out or did not heed.

    Raises:
        ImageError: AXES_UNKNOWN if `axes` breaks a rule or has another length than the shape of `pixels`.
    """

    pixels: NDArray[Any]
    axes: str
    pixel_size: PixelSize | None = None
    name: str = ""
    warnings: Warnings = ()

    def __post_init__(self) -> None:
        check_axes(self.axes, self.pixels.ndim)


def check_axes(axes: str, dimensions: int) -> None:
    """Checks names of axes.

    Args:
        axes: One letter per axis.
        dimensions: Number of axes of the array.

    Raises:
        ImageError: AXES_UNKNOWN if a letter is not in TCZYXS or occurs twice, Y or X is missing, or the count differs.
    """
    if problem := axes_problem(axes, dimensions):
        raise ImageError(f"axes are {problem}", "AXES_UNKNOWN", allowed=LETTERS)


def planes(image: Image) -> NDArray[Any]:
    """Returns the channels or colours of a 2-D image, a view.

    Args:
        image: Axes T and Z, if any, have length one.

    Returns:
        [C, Y, X] in the dtype of the image.

    Raises:
        ImageError: AXES_UNKNOWN for a stack, a time series, or an image with channels and colour samples at once.
    """
    check_flat(image.axes, image.pixels.shape)
    only: NDArray[Any] = stack(image)[0]
    return only


def stack(image: Image) -> NDArray[Any]:
    """Returns the planes of a stack, each with its channels or colours, a view.

    Args:
        image: Axis T, if any, has length one.

    Returns:
        [Z, C, Y, X] in the dtype of the image; Z is 1 for an image without that axis.

    Raises:
        ImageError: AXES_UNKNOWN for a time series, or an image with channels and colour samples at once.
    """
    shape = image.pixels.shape
    if "T" in image.axes and shape[image.axes.index("T")] != 1:
        raise ImageError(
            f"the image is a time series (axes {image.axes}, shape {shape}); segment each time point on its own",
            "AXES_UNKNOWN",
        )
    dropped = tuple(at for at, letter in enumerate(image.axes) if letter not in "YX" and shape[at] == 1)
    axes = "".join(letter for at, letter in enumerate(image.axes) if at not in dropped)
    pixels = np.squeeze(image.pixels, dropped)
    if {"C", "S"} <= set(axes):
        raise ImageError(f"the image has {shape} channels and colour samples (axes {image.axes})", "AXES_UNKNOWN")
    pixels = np.transpose(pixels, [axes.index(letter) for letter in "ZCSYX" if letter in axes])
    if not {"C", "S"} & set(axes):
        pixels = np.expand_dims(pixels, -3)
    return pixels if "Z" in axes else pixels[np.newaxis]


def check_flat(axes: str, shape: tuple[int, ...], *, assumed: bool = False) -> None:
    """Checks that an image is no stack.

    Args:
        axes: Names of the axes.
        shape: Their lengths.
        assumed: Whether a file with several pages does not name them.

    Raises:
        ImageError: AXES_UNKNOWN if T or Z has another length than one; the message names the choices.
    """
    stacks = {letter: name for letter, name in _STACKS.items() if letter in axes and shape[axes.index(letter)] != 1}
    if stacks:
        joined = "as volumes (--volume), plane by plane with objects joined (--stitch), or " if "Z" in stacks else ""
        channels = f", or say that its pages are channels (--axes {axes.replace('Z', 'C')})" if assumed else ""
        raise ImageError(
            f"the image is {' and '.join(stacks.values())} (axes {axes}, shape {shape}"
            f"{', its pages have no names' if assumed else ''}); choose how it is segmented: {joined}each plane alone "
            f"(--planes){channels}",
            "AXES_UNKNOWN",
        )


def guess_axes(shape: tuple[int, ...]) -> str:
    """Names the axes of an array where only one reading is plausible.

    Args:
        shape: Length of each axis.

    Returns:
        "YX" for two axes; "YXS" for three of which the last is 3 or 4 and the others are longer: RGB or RGBA.

    Raises:
        ImageError: AXES_UNKNOWN for any other shape. Planes could be channels, z or time, so the caller has to say.
    """
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
        return "YXS"
    if len(shape) == 3:
        raise ImageError(
            f"the axes of an image of shape {shape} are ambiguous; "
            "give axes='CYX' (planes first) or axes='YXC' (planes last)",
            "AXES_UNKNOWN",
        )
    raise ImageError(f"an image has two or three axes, this one has {len(shape)}: shape {shape}", "AXES_UNKNOWN")


def check_pixels(pixels: NDArray[Any]) -> None:
    """Checks that pixels are real, finite numbers, without much temporary memory.

    Args:
        pixels: Any shape.

    Raises:
        ImageError: DATA_TYPE_UNSUPPORTED for complex numbers and anything else that is no real number;
            PIXELS_NOT_FINITE if some are NaN, infinite or beyond `MAX_INTENSITY`.
    """
    if pixels.dtype.kind not in "biuf":
        raise ImageError(f"pixels of type {pixels.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
    if pixels.dtype.kind == "f" and pixels.size:
        # NaN in a minimum or maximum makes both comparisons false. Half precision cannot hold the limit.
        if float(pixels.min()) >= -MAX_INTENSITY and float(pixels.max()) <= MAX_INTENSITY:
            return
        parts: Any = np.nditer(pixels, ["external_loop", "buffered"])
        bad = sum(int(np.count_nonzero(~(np.abs(part) <= np.float64(MAX_INTENSITY)))) for part in parts)
        raise ImageError(
            f"{bad:,} pixels are NaN, infinite or beyond {MAX_INTENSITY:g}; replace them, a border of such pixels by 0",
            "PIXELS_NOT_FINITE",
            pixels=bad,
        )
