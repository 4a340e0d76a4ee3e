"""Images that are read region by region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from cellserve_contract.warnings import Warnings
from numpy.typing import NDArray

from cellserve_formats.dtypes import dtype_of_all
from cellserve_formats.errors import ImageError
from cellserve_formats.image import PixelSize, check_axes, check_pixels

Region = tuple[slice, ...]
"""A box of an image: one slice per axis, with start and stop, of step one."""


def _nothing() -> None:
    """Closes an image that holds nothing open."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An image as it is stored, behind the functions that read and close it.

    Attributes:
        axes: Letters of TCZYX and S, one per axis.
        shape: Length of each axis.
        dtype: Type of the stored values.
        chunks: Shape of the box that the storage reads at once.
        load: Returns the values of a region. Several threads may call it at once.
        levels: Rows and columns of all resolutions, the largest first; () for an image without smaller copies.
        pixel_size: Micrometres; None where unknown.
        name: Name of the file; "" where there is none.
        warnings: What is left out.
        folder: Folder of an OME-Zarr image; None for other images.
        channels: Names of the channels; () where unknown.
        close: Releases files.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    load: Callable[[Region], NDArray[Any]]
    levels: tuple[tuple[int, int], ...] = ()
    pixel_size: PixelSize | None = None
    name: str = ""
    warnings: Warnings = ()
    folder: Path | None = None
    channels: tuple[str, ...] = ()
    close: Callable[[], None] = _nothing


def rows_and_columns(axes: str, shapes: Iterable[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """Returns the lengths of Y and X of arrays that have the same axes."""
    y, x = axes.index("Y"), axes.index("X")
    return tuple((int(shape[y]), int(shape[x])) for shape in shapes)


class LazyImage:
    """An image whose pixels are read region by region; a context manager that closes the file.

    Axes of length one are dropped, except Y and X.

    Args:
        source: The image as it is stored.
        as_stored: Whether values keep the stored type, for label images.
        opened: Function and arguments that open the image again, in another process.

    Attributes:
        axes: Distinct letters of TCZYX and S, Y and X among them.
        shape: Length of each axis.
        dtype: Type of the pixels that `read` returns, in native byte order. It is the type of
            `cellserve_contract.packing.IMAGE_DTYPES` that holds all values of the stored type. With `as_stored` it is
            the stored type.
        chunks: Shape of the box that the storage reads at once. Regions on the grid of the chunks are fastest.
        levels: Rows and columns of all resolutions, the largest first. `read` reads the largest.
        pixel_size: Micrometres; None where unknown.
        name: Name of the file; "" where there is none.
        warnings: What the reader left out.
        folder: Folder of an OME-Zarr image, where its labels belong; None for other images.
        channels: Names of the channels, as those of `cellserve_formats.Image`.

    Raises:
        ImageError: AXES_UNKNOWN if the axes break a rule; IMAGE_EMPTY if an axis has no element; DATA_TYPE_UNSUPPORTED
            if the values are not real numbers.
    """

    def __init__(
        self,
        source: Source,
        *,
        as_stored: bool = False,
        opened: tuple[Callable[..., LazyImage], tuple[Any, ...]] | None = None,
    ) -> None:
        check_axes(source.axes, len(source.shape))
        if 0 in source.shape:
            raise ImageError(f"the image is empty: axes {source.axes}, shape {source.shape}", "IMAGE_EMPTY")
        dtype = dtype_of_all(source.dtype)
        self._source = source
        self._opened = opened
        self._kept = tuple(
            at
            for at, (letter, length) in enumerate(zip(source.axes, source.shape, strict=True))
            if length > 1 or letter in "YX"
        )
        self.axes = "".join(source.axes[at] for at in self._kept)
        self.shape = self._of_kept(source.shape)
        self.dtype = source.dtype.newbyteorder("=") if as_stored else dtype
        self.chunks = self._of_kept(source.chunks)
        self.levels = source.levels or rows_and_columns(self.axes, [self.shape])
        self.pixel_size = source.pixel_size
        self.name = source.name
        self.warnings = source.warnings
        self.folder = source.folder
        self.channels = source.channels

    def read(self, region: Sequence[slice]) -> NDArray[Any]:
        """Reads a box of pixels. Several threads may read at once.

        Args:
            region: One slice per axis, within the image, of step one. An open end is that of the axis.

        Returns:
            A new, contiguous array of `dtype`.

        Raises:
            ImageError: IMAGE_UNDECODABLE if a part of the storage is damaged; PIXELS_NOT_FINITE if some of the pixels
                are no finite numbers.
            OSError: The file cannot be read.
            ValueError: The region has another number of axes, is empty, or is not within the image.
        """
        box = self._box(region)
        whole = [slice(0, 1)] * len(self._source.shape)
        for at, part in zip(self._kept, box, strict=True):
            whole[at] = part
        shape = tuple(part.stop - part.start for part in box)
        stored = self._source.load(tuple(whole)).reshape(shape)
        pixels = np.array(stored, self.dtype, order="C")
        try:
            check_pixels(pixels)
        except ImageError as error:
            raise ImageError(f"{error.message}: {self._named(box)}", error.reason, **error.metadata) from None
        return pixels

    def close(self) -> None:
        """Releases the file. The image can then not be read any more."""
        self._source.close()

    def __enter__(self) -> LazyImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., LazyImage], tuple[Any, ...]]:
        if self._opened is None:
            raise TypeError(f"{self!r} cannot be pickled: open it with open_image")
        return self._opened

    def __repr__(self) -> str:
        return f"LazyImage({self.name!r}, axes={self.axes!r}, shape={self.shape}, dtype={self.dtype})"

    def _of_kept(self, lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(lengths[at] for at in self._kept)

    def _box(self, region: Sequence[slice]) -> Region:
        """Returns a region with all of its ends."""
        if len(region) != len(self.shape):
            raise ValueError(f"the region has {len(region)} slices; the image has the axes {self.axes}")
        box = []
        for letter, part, length in zip(self.axes, region, self.shape, strict=True):
            start = 0 if part.start is None else part.start
            stop = length if part.stop is None else part.stop
            if part.step not in (None, 1) or not 0 <= start < stop <= length:
                raise ValueError(f"the region {part} is not within 0 to {length}, the length of axis {letter}")
            box.append(slice(int(start), int(stop)))
        return tuple(box)

    def _named(self, box: Region) -> str:
        """Returns a region for a message."""
        return ", ".join(f"{letter} {part.start} to {part.stop}" for letter, part in zip(self.axes, box, strict=True))
