"""How the pixels of a TIFF image are stored: axes, types, and the pages of a time point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cellserve_contract.axes import LETTERS
from numpy.typing import NDArray

from . import tiff_values
from .errors import ImageError
from .image import check_axes, check_flat, check_one_time_point
from .options import ReadOptions
from .tiff_file import OpenImage

_MOST_CHANNELS_LAST = 4  # tifffile writes an array [Y, X, C] as Y pages of X rows with C pixels each


@dataclass(frozen=True, slots=True, eq=False)
class TiffLayout:
    """How an image is stored, and what it is once it is read.

    Attributes:
        stored: Axes of the stored values, without those of length one except Y and X.
        lengths: Lengths of these axes.
        samples: Samples of a stored pixel that are left without alpha.
        table: Colours of a palette, as `tiff_values.colour_table` returns them; None: there is no palette.
        axes: Axes of the image.
        shape: Lengths of these axes.
        dtype: Type of the pixels, in the byte order of the file.
    """

    stored: str
    lengths: tuple[int, ...]
    samples: int
    table: NDArray[Any] | None
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class TimePoint:
    """Where the pixels of a time point are.

    Attributes:
        pages: Numbers of the pages in the image, in order.
        offset: Where the pixels of page 0 start if the file has one page for all planes; None if it has all pages.
    """

    pages: tuple[int, ...]
    offset: int | None = None

    def parts(self, series: Any) -> Any:
        """Returns the pages that are in the file."""
        return series.pages if self.offset is not None else [series[number] for number in self.pages]

    def read(self, image: OpenImage, threads: int | None, buffer: int) -> NDArray[Any]:
        """Returns the stored values of the pages.

        Args:
            image: The image.
            threads: Threads that decode pages; None: half of the processor's.
            buffer: Packed bytes to read at a time.
        """
        series = image.series
        if self.offset is None:
            values: NDArray[Any] = image.file.asarray(
                key=list(self.pages), series=series, maxworkers=threads, buffersize=buffer
            )
            return values
        size, typecode = series.keyframe.size, image.file.byteorder + series.dtype.char
        places = (self.offset + number * size * series.dtype.itemsize for number in self.pages)
        return np.stack([image.file.filehandle.read_array(typecode, size, place) for place in places])


def layout_of(image: OpenImage, options: ReadOptions) -> TiffLayout:
    """Returns the layout of an image.

    Args:
        image: The image.
        options: As for `read_image`; of them axes, stacks, time_series and as_stored.

    Raises:
        ImageError: AXES_UNKNOWN if the axes have no names, or the image is a stack or a time series that is not taken;
            DATA_TYPE_UNSUPPORTED; IMAGE_UNDECODABLE if a colour table is missing.
    """
    series, page = image.series, image.series.keyframe
    found = list(zip(series.axes, series.shape, strict=True))
    kept = [(letter, length) for letter, length in found if length != 1 or letter in "YX"]
    lengths = tuple(int(length) for _, length in kept)
    names = "".join(letter for letter, _ in kept)
    stored = known_axes(names, lengths, options.axes)
    if not options.time_series:
        check_one_time_point(stored, lengths)
    if not options.stacks:
        check_flat(stored, lengths, assumed=stored not in (names, options.axes))
    if series.dtype is None or series.dtype.kind not in "biuf":
        raise ImageError(f"pixels of type {series.dtype} are not real numbers", "DATA_TYPE_UNSUPPORTED")
    table = None if options.as_stored else tiff_values.colour_table(image.file, page, stored)
    samples = tiff_values.colours(page, dict(found).get("S", 1))
    length = dict(zip(stored, lengths, strict=True))
    if "S" in length:
        length["S"] = samples
    if table is not None:
        length["S"] = table.shape[1]
    if length.get("S") == 1:
        del length["S"]
    dtype = (series if table is None else table).dtype
    return TiffLayout(stored, lengths, samples, table, "".join(length), tuple(length.values()), dtype)


def time_point_of(series: Any, axes: str, number: int) -> TimePoint | None:
    """Returns where the pixels of a time point are.

    Args:
        series: The image, a time series.
        axes: Its axes without those of length one, as in `TiffLayout.stored`.
        number: Number of the time point, from 0.

    Returns:
        None if the pages do not hold one time point each, so that the image can only be read whole.
    """
    kept = [
        at
        for at, (letter, length) in enumerate(zip(series.axes, series.shape, strict=True))
        if length != 1 or letter in "YX"
    ]
    at, shape, size = kept[axes.index("T")], series.shape, series.keyframe.size
    inner = next((start for start in range(len(shape)) if math.prod(shape[start:]) == size), 0)
    if at >= inner:
        return None
    outer = shape[:inner]
    pages = tuple(np.arange(math.prod(outer)).reshape(outer).take(number, at).ravel().tolist())
    if len(series.pages) == math.prod(outer):
        return TimePoint(pages)
    return None if series.dataoffset is None else TimePoint(pages, int(series.dataoffset))


def known_axes(found: str, shape: tuple[int, ...], given: str | None) -> str:
    """Returns the file's own axes if all are known, else the caller's. Pages without a name are planes of a z stack.

    Args:
        found: Axes of the file, as tifffile names them.
        shape: Their lengths.
        given: Axes that the caller names, if any.

    Raises:
        ImageError: AXES_UNKNOWN if several axes have no name, if rows are so short that they could be channels, or if
            the caller's axes do not fit.
    """
    unnamed = [letter for letter in found if letter not in LETTERS]
    axes = given if unnamed and given else found
    if len(unnamed) == 1 and not given and "Z" not in found and shape[found.index("X")] > _MOST_CHANNELS_LAST:
        axes = found.replace(unnamed[0], "Z")
    if len(axes) != len(shape) or not set(axes) <= set(LETTERS):
        such = "ZYX or CYX (planes first) or YXC (channels last)" if len(shape) == 3 else "TCZYX"[-len(shape) :]
        raise ImageError(
            f"the file does not say whether its planes are channels, z or time (axes {found}, shape {shape}); name its "
            f"{len(shape)} axes, such as {such}: --axes on the command line",
            "AXES_UNKNOWN",
        )
    check_axes(axes, len(shape))
    return axes
