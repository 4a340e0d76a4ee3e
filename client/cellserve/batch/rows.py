"""The rows of a batch: one for each time point of each position of each image file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cellserve_formats.contents import ImageFile, Position

Key = tuple[int, int, int]
"""Number of the image in the journal, number of its position, time point."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image to segment in one request. Can be pickled.

    Attributes:
        image: Number of the file in the journal.
        position: Number of the position in the file, from 0.
        time_point: Number of the time point, from 0.
        name: Name in tables: that of the file, then position and time point where there are several.
        path: The file, or the folder of a Zarr store.
        stem: Path that the names of its results begin with, relative to the folder of all results.
        identity: What changes when the pixels change: size and time of change.
        pixels: Pixels of all channels and planes.
        bytes: Bytes of these pixels.
        alone: Whether the file has no other row.
        store: Folder of the OME-Zarr image, where its labels belong; None for other images and for time points: the
            labels of one time point are no labels of the image.
    """

    image: int
    position: int
    time_point: int
    name: str
    path: Path
    stem: str
    identity: str
    pixels: int
    bytes: int
    alone: bool = True
    store: Path | None = None

    @property
    def key(self) -> Key:
        """Identifies the row in the journal."""
        return self.image, self.position, self.time_point


def rows_of(file: ImageFile, image: int, name: str, path: Path, stem: str, identity: str) -> Iterator[Row]:
    """Yields the rows of an open file.

    Args:
        file: The file.
        image: Its number in the journal.
        name: Its name, relative to the inputs, with slashes.
        path: Its path.
        stem: Path that the names of its results begin with, with slashes, relative to the folder of all results.
        identity: That of the file. Positions in folders of their own have one of their own.
    """
    several = len(file.positions) > 1
    for position in file.positions:
        position_name = position.name if "/" in position.name else f"s{position.number}"
        named, begins = name, stem
        if position.folder is not None and "/" in position.name:  # a field of a plate lies in folders
            named, begins = f"{name}/{position.name}", f"{stem}/{position.name}"
        elif several:
            named, begins = f"{name}[{position.name or position_name}]", f"{stem}_{position_name}"
        own = identity if position.folder is None else tree_identity(position.folder)
        pixels, size = _amounts(position)
        digits = len(str(position.time_points - 1))
        for time_point in range(position.time_points):
            in_time = position.time_points > 1
            yield Row(
                image,
                position.number,
                time_point,
                f"{named}[t{time_point}]" if in_time else named,
                path,
                f"{begins}_t{time_point:0{digits}}" if in_time else begins,
                own,
                pixels,
                size,
                alone=not (several or in_time),
                store=None if in_time else position.folder,
            )


def files_identity(files: Iterable[Path]) -> str:
    """Returns name, size and time of change of the files of an image, as JSON.

    Raises:
        OSError: A file is not there or cannot be reached.
    """
    found = {}
    for path in files:
        status = path.stat()
        found[path.name] = [status.st_size, status.st_mtime_ns]
    return json.dumps(found)


def files_of(path: Path, identity: str) -> list[Path]:
    """Returns the files of an image, of which `path` is one, by their identity; the first one owns the others."""
    return [path.with_name(name) for name in json.loads(identity)]


def is_unchanged(path: Path, identity: str) -> bool:
    """Tells whether the files of an image, of which `path` is one, have the identity that they had."""
    try:
        return files_identity(files_of(path, identity)) == identity
    except OSError:
        return False


def tree_identity(folder: Path) -> str:
    """Returns number, size and newest change of the files of an OME-Zarr image; its labels do not count."""
    files = size = newest = 0
    for where, folders, names in os.walk(folder):
        if Path(where) == folder:
            folders[:] = [name for name in folders if name != "labels"]
        for name in names:
            status = Path(where, name).stat()
            files, size, newest = files + 1, size + status.st_size, max(newest, status.st_mtime_ns)
    return f"{files}-{size}-{newest}"


def _amounts(position: Position) -> tuple[int, int]:
    """Returns pixels and bytes of one time point."""
    pixels = 1
    for axis, length in zip(position.axes, position.shape, strict=True):
        pixels *= 1 if axis == "T" else length
    return pixels, pixels * (position.dtype.itemsize if position.dtype else 1)
