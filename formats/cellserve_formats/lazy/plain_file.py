"""Planes that a file stores as they are in memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellserve_formats.tiff_directories import damaged

from .image import Region


class PlainFile:
    """Reads regions of planes. Not mapped into memory: mapped pages would count as memory of the process.

    Args:
        path: The file.
        offsets: Where each plane starts, bytes; an array of the outer axes.
        inner: Shape of a plane.
        dtype: Type of the values, with the byte order of the file.

    Raises:
        ImageError: IMAGE_UNDECODABLE if the file ends before its last plane.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, offsets: NDArray[np.int64], inner: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._offsets = offsets
        self._dtype = dtype
        self._strides = np.cumprod((dtype.itemsize, *inner[:0:-1]), dtype=np.int64)[::-1]
        self._inner = inner
        self._lock = threading.Lock()
        self._file = path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        if int(offsets.max()) + int(self._strides[0]) * inner[0] > size:
            self._file.close()
            raise damaged("it is cut off: a plane of it is not there")

    def read(self, region: Region) -> NDArray[Any]:
        """Returns a region of all axes, outer and inner. Several threads may read at once."""
        outer, inner = region[: self._offsets.ndim], region[self._offsets.ndim :]
        pixels = np.empty([part.stop - part.start for part in region], self._dtype)
        whole = len(inner)  # from here on the region has all of each axis: one run of bytes
        while whole > 1 and inner[whole - 1] == slice(0, self._inner[whole - 1]):
            whole -= 1
        run = pixels.reshape(*pixels.shape[: len(outer) + whole - 1], -1)
        starts = self._offsets[outer]
        ahead = sum(part.start * int(stride) for part, stride in zip(inner, self._strides, strict=True))
        with self._lock:
            for place in np.ndindex(run.shape[:-1]):
                at = int(starts[place[: len(outer)]]) + ahead
                at += sum(n * int(stride) for n, stride in zip(place[len(outer) :], self._strides, strict=False))
                self._fill(at, run[place])
        return pixels

    def _fill(self, at: int, values: NDArray[Any]) -> None:
        self._file.seek(at)
        rest = values.view(np.uint8).data
        while rest:
            count = self._file.readinto(rest)
            if not count:
                raise damaged("it was cut off while it was read")
            rest = rest[count:]

    def __enter__(self) -> PlainFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
