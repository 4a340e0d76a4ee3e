"""The rows of a batch: one for each time point of each position of each image file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cellserve_formats.contents import ImageFile, Position, open_images

from cellserve.errors import refusal

Key = tuple[int, int, int]
"""Number of the image in the journal, number of its position, time point."""
WHOLE = -1
"""In the place of the position: the file as a whole, which cannot be opened."""
_METADATA = frozenset({"zarr.json", ".zgroup", ".zattrs"})
"""Files of the metadata of an OME-Zarr image, of Zarr format 3 and 2."""
_COLLECTED = ".zmetadata"
"""File in which format 2 collects the metadata of all that is below. Format 3 collects them in `zarr.json`."""


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
        folder: Folder of the OME-Zarr image, alone in it; None for other images.
        store: The same folder, where labels of the image belong; None for time points: the labels of one time point are
            no labels of the image.
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
    folder: Path | None = None
    store: Path | None = None

    @property
    def key(self) -> Key:
        """Identifies the row in the journal."""
        return self.image, self.position, self.time_point


def open_input(path: Path, axes: str | None) -> ImageFile:
    """Opens an image of a batch.

    Args:
        path: The file, or the folder of a Zarr store.
        axes: Axes of files that do not name them.

    Raises:
        InvalidRequestError: FILE_UNREADABLE: a pipe or a device, which can be read once at most.
        ImageError: As `open_images`, as are all others.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise refusal(f"{path}: this is a pipe or a device; a batch takes files and Zarr stores", "FILE_UNREADABLE")
    return open_images(path, axes=axes)


def rows_of(file: ImageFile, image: int, name: str, path: Path, stem: str, identity: str) -> Iterator[Row]:
    """Yields the rows of an open file.

    Args:
        file: The file.
        image: Its number in the journal.
        name: Its name, relative to the inputs, with slashes.
        path: Its path.
        stem: Path that the names of its results begin with, with slashes, relative to the folder of all results.
        identity: That of the file. Each image of a Zarr store has one of its own.
    """
    several = len(file.positions) > 1
    folders = Counter(position.folder for position in file.positions)
    for position in file.positions:
        named, begins = name, stem
        if field := _field_of(position, path):
            named, begins = f"{name}/{field}", f"{stem}/{field}"
        elif several:
            number = f"s{position.number}"
            named, begins = f"{name}[{position.name or number}]", f"{stem}_{number}"
        folder = position.folder if folders[position.folder] == 1 else None
        own = identity if position.error or not path.is_dir() else tree_identity(position.folder or path)
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
                folder=folder,
                store=None if in_time else folder,
            )


def _field_of(position: Position, path: Path) -> str:
    """Returns where a field lies in its plate, such as "A/1/0"; "" for other images.

    The names that images give themselves are no part of a path: they can lead anywhere.
    """
    if position.folder is not None:
        place = position.folder.relative_to(path).as_posix()
    else:  # only a store whose metadata are damaged has such positions, and they have no results
        place = position.name if path.is_dir() else ""
    return place if "/" in place else ""


def files_identity(files: Iterable[Path]) -> str:
    """Returns name, size and time of change of the files of an image, as JSON; null for a file that is missing.

    Raises:
        OSError: A file cannot be reached.
    """
    found: dict[str, list[int] | None] = {}
    for path in files:
        try:
            status = path.stat()
            found[path.name] = [status.st_size, status.st_mtime_ns]
        except FileNotFoundError:  # the reader names it
            found[path.name] = None
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
    """Returns number, size and newest change of the files of an OME-Zarr image, and the checksum of its metadata.

    Its labels do not count. Libraries write the metadata of the image again, unchanged, when they collect those of its
    labels: content counts there, and not the time of change.

    Raises:
        OSError: A file cannot be read.
    """
    files = size = newest = metadata = 0
    for where, folders, names in os.walk(folder):
        if Path(where) == folder:
            folders[:] = [name for name in folders if name != "labels"]
            metadata = _checksum(folder, _METADATA & set(names))
            names = [name for name in names if name not in _METADATA and name != _COLLECTED]
        for name in names:
            status = Path(where, name).stat()
            files, size, newest = files + 1, size + status.st_size, max(newest, status.st_mtime_ns)
    return f"{files}-{size}-{newest}-{metadata:08x}"


def _checksum(folder: Path, names: Iterable[str]) -> int:
    """Returns the checksum of metadata files, without what they have collected from below."""
    checksum = 0
    for name in sorted(names):
        data = Path(folder, name).read_bytes()
        with contextlib.suppress(ValueError, RecursionError):  # a damaged image fails when it is read
            found = json.loads(data)
            if isinstance(found, dict):
                found.pop("consolidated_metadata", None)
            data = json.dumps(found, sort_keys=True).encode()
        checksum = zlib.crc32(name.encode() + data, checksum)
    return checksum


def _amounts(position: Position) -> tuple[int, int]:
    """Returns pixels and bytes of one time point."""
    pixels = 1
    for axis, length in zip(position.axes, position.shape, strict=True):
        pixels *= 1 if axis == "T" else length
    return pixels, pixels * (position.dtype.itemsize if position.dtype else 1)
