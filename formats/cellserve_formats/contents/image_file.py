"""The images of a file, a set of files or a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from cellserve_formats.errors import ImageError
from cellserve_formats.image import Image, PixelSize, check_axes
from cellserve_formats.limits import Limits
from cellserve_formats.read import taken_dtype


@dataclass(frozen=True, slots=True)
class Position:
    """One image of a file: a field of a plate, a scene, a series.

    Attributes:
        number: Number of the image in its file, from 0.
        name: Name that the file gives to the image, such as "A/1/0" in a plate; "" where there is none.
        axes: Axes of the image as it is read, T among them. "" if `error` is set.
        shape: Length of each axis.
        dtype: Type of the stored pixels, in native byte order. None if `error` is set.
        channels: Names of the channels; () where unknown, and for colour samples.
        pixel_size: Micrometres; None where unknown.
        frame_interval_s: Seconds from one time point to the next; None where unknown.
        folder: Folder of an OME-Zarr image, where its labels belong; None for other images.
        error: Why the image cannot be read, for a damaged or missing image; None otherwise.
    """

    number: int
    name: str = ""
    axes: str = ""
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None
    channels: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None
    frame_interval_s: float | None = None
    folder: Path | None = None
    error: ImageError | None = None

    @property
    def time_points(self) -> int:
        """Number of time points: 1 for an image without axis T, and for one that cannot be read."""
        return dict(zip(self.axes, self.shape, strict=True)).get("T", 1)


def _nothing() -> None:
    """Closes what holds nothing open."""


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a reader of one kind of file found.

    Attributes:
        positions: The images.
        load: Returns the time point of the image with a number, without axis T, in the stored type. The loader checks
            its size and its pixels.
        files: All files that the images lie in; the first one owns the set.
        close: Releases files.
    """

    positions: tuple[Position, ...]
    load: Callable[[int, int], Image]
    files: tuple[Path, ...]
    close: Callable[[], None] = _nothing


class ImageFile:
    """The images of a file, a set of files or a store; a context manager that closes them. For one thread at a time.

    Args:
        path: The file or folder that was opened.
        contents: What is in it.
        limits: Largest image taken.

    Attributes:
        path: The file or folder that was opened.
        positions: The images, in the order of the file.
        files: All files that the images lie in. The first file owns the set: it is the same whichever file of the set
            was opened. A store is one folder.
    """

    def __init__(self, path: Path, contents: Contents, limits: Limits) -> None:
        self.path = path
        self.positions = contents.positions
        self.files = contents.files
        self._contents = contents
        self._limits = limits

    def read(self, position: Position | int, time_point: int = 0) -> Image:
        """Reads one time point of an image; only the pixels of this time point where the format allows that.

        Args:
            position: One of `positions`, or its number.
            time_point: Number of the time point, from 0.

        Returns:
            Pixels without axis T; types, checks and warnings as those of `read_image`. Limits hold for the time point.

        Raises:
            ImageError: As `read_image`.
            MissingExtraError: A library that reads the file is not installed.
            OSError: The file cannot be read.
            IndexError: There is no such image or time point.
        """
        number = position if isinstance(position, int) else position.number
        if not 0 <= number < len(self.positions):
            raise IndexError(f"there is no image {number}; {self.path.name} holds {len(self.positions)}")
        chosen = self.positions[number]
        if chosen.error is not None:
            raise ImageError(chosen.error.message, chosen.error.reason, **chosen.error.metadata)
        if not 0 <= time_point < chosen.time_points:
            raise IndexError(f"there is no time point {time_point}; image {number} has {chosen.time_points}")
        image = self._contents.load(number, time_point)
        return dataclasses.replace(
            image,
            pixels=image.pixels.astype(taken_dtype(image, self._limits), copy=False),
            name=self.path.name,
            channels=chosen.channels,
            frame_interval_s=chosen.frame_interval_s,
        )

    def close(self) -> None:
        """Releases the files. Images can then not be read any more."""
        self._contents.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ImageFile({str(self.path)!r}, {len(self.positions)} images)"


def squeezed(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Returns axes and lengths without axes of length one, except Y and X.

    Raises:
        ImageError: AXES_UNKNOWN if the axes break a rule; IMAGE_EMPTY if an axis has no element.
    """
    if len(axes) != len(shape):
        check_axes(axes, len(shape))
    if min(shape, default=0) < 1:
        raise ImageError(f"the image is empty: axes {axes}, shape {shape}", "IMAGE_EMPTY")
    kept = [(letter, length) for letter, length in zip(axes, shape, strict=True) if length > 1 or letter in "YX"]
    axes = "".join(letter for letter, _ in kept)
    check_axes(axes, len(kept))
    return axes, tuple(length for _, length in kept)


def check_size(axes: str, shape: tuple[int, ...], dtype: np.dtype[Any], limits: Limits) -> None:
    """Compares the size of one time point of an image with the limits. Raises ImageError IMAGE_TOO_LARGE."""
    length = dict(zip(axes, shape, strict=True))
    channels = length.get("C", 1) * length.get("S", 1)
    limits.check(channels, length["Y"], length["X"], dtype.itemsize, length.get("Z", 1))
