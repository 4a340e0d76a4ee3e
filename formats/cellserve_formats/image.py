"""Images with named axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from cellserve_contract.axes import LETTERS, axes_problem
from cellserve_contract.warnings import Warnings
from numpy.typing import NDArray

from .errors import ImageError

MAX_INTENSITY = 1e30
"""Larger intensities overflow single precision in later steps."""
_OTHER_PAGES = {"C": "channels", "T": "time points"}


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
        frame_interval_s: Seconds from one time point to the next; None where unknown.
        channels: Names of the channels, in the order of axis C; one name for an image with one channel. () where
            unknown, and for colour samples.

    Raises:
        ImageError: AXES_UNKNOWN if `axes` breaks a rule or has another length than the shape of `pixels`.
    """

    pixels: NDArray[Any]
    axes: str
    pixel_size: PixelSize | None = None
    name: str = ""
    warnings: Warnings = ()
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()

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
    check_one_time_point(image.axes, shape)
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
        ImageError: AXES_UNKNOWN if Z has another length than one; the message names the choices.
    """
    if "Z" not in axes or shape[axes.index("Z")] == 1:
        return
    others = [f"{name} (--axes {axes.replace('Z', letter)})" for letter, name in _OTHER_PAGES.items()]
    raise ImageError(
        f"the image is a z stack (axes {axes}, shape {shape}{', its pages have no names' if assumed else ''}); choose "
        "how it is segmented: as volumes (--volume), plane by plane with objects joined (--stitch), or each plane "
        f"alone (--planes){', or say that its pages are ' + ' or '.join(others) if assumed else ''}",
        "AXES_UNKNOWN",
    )


def check_one_time_point(axes: str, shape: tuple[int, ...]) -> None:
    """Checks that an image is no time series.

    Args:
        axes: Names of the axes.
        shape: Their lengths.

    Raises:
        ImageError: AXES_UNKNOWN if T has another length than one; the message says who segments time series.
    """
    if "T" in axes and shape[axes.index("T")] != 1:
        raise ImageError(
            f"the image is a time series (axes {axes}, shape {shape}); a request holds one time point: "
            "`segment_series` (Python) and `cellserve segment` (command line) make a request for each time point, "
            "other callers do the same",
            "AXES_UNKNOWN",
        )


def time_points(image: Image) -> Iterator[Image]:
    """Yields the images of a time series in order of time, without axis T; their pixels are views.

    An image without axis T is its only time point.
    """
    if "T" not in image.axes:
        yield image
        return
    axes = image.axes.replace("T", "")
    for pixels in np.moveaxis(image.pixels, image.axes.index("T"), 0):
        yield replace(image, pixels=pixels, axes=axes)


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
