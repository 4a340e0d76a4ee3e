"""Zarr stores on the local disk: OME-Zarr images and plain arrays."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
import zarr.codecs
from cellserve_contract.warnings import WarningKind, Warnings
from numpy.typing import NDArray

from cellserve_formats.channel_names import fitting_names
from cellserve_formats.errors import ImageError
from cellserve_formats.image import PixelSize
from cellserve_formats.ngff import Multiscales, axes_of_names, ome_attributes, read_multiscales

from .arrays import chosen_axes
from .image import Region, Source, rows_and_columns

_MOST_LISTED = 10
_SERIES = "bioformats2raw.layout"
_BLOSC = (numcodecs.Blosc, zarr.codecs.BloscCodec)
_BLOSC_HEADER = 16  # bytes; the last four are the length of the chunk


def zarr_source(path: Path, axes: str | None, pixel_size: PixelSize | None, series: int | None) -> Source:
    """Opens a Zarr store; arguments and errors as in `open_image`."""
    node = _opened(path)
    if isinstance(node, zarr.Array):
        _choose(1, series)
        return zarr_array_source(node, axes, pixel_size, path)
    image, group, where = _image(node, path, series)
    arrays = [_array(group, name, image) for name in image.paths]
    source = _source(arrays[0], image.axes, where / image.paths[0])
    return dataclasses.replace(
        source,
        levels=rows_and_columns(image.axes, (array.shape for array in arrays)),
        pixel_size=pixel_size or image.pixel_size,
        name=path.name,
        folder=where,
        channels=fitting_names(image.channels, source.axes, source.shape),
    )


def zarr_array_source(
    array: zarr.Array[Any], axes: str | None, pixel_size: PixelSize | None, folder: Path | None = None
) -> Source:
    """Describes an array of Zarr; arguments and errors as in `open_image`.

    The axes are those of its dimension names (format 3) or of xarray's attribute, else the caller's.
    """
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    named = axes_of_names(names) if isinstance(names, list | tuple) and len(names) == array.ndim else None
    source = _source(array, chosen_axes(array.shape, named or axes), folder)
    return dataclasses.replace(source, pixel_size=pixel_size)


def _source(array: zarr.Array[Any], axes: str, folder: Path | None) -> Source:
    return Source(
        axes,
        array.shape,
        np.dtype(array.dtype),
        chunks=array.chunks,
        load=Loader(array, folder),
        name=folder.name if folder else array.basename or "",
        warnings=_missing_chunks(array, folder) if folder else (),
    )


class Loader:
    """Reads regions of an array, and names the chunk that cannot be read.

    Args:
        array: The array.
        folder: Folder of the array, where its chunks are files; None for other arrays.
        chunk: How messages name a chunk; {} stands for its key.
    """

    def __init__(
        self, array: zarr.Array[Any], folder: Path | None = None, chunk: str = "the chunk {} of the Zarr store"
    ) -> None:
        self._array = array
        self._chunk = chunk
        self._checked = folder if array.shards is None and isinstance(_last(array.compressors), _BLOSC) else None

    def __call__(self, region: Region) -> NDArray[Any]:
        """Returns a region; several threads may read at once. Raises ImageError IMAGE_UNDECODABLE."""
        if self._checked is not None:
            for place, _ in self._chunks(region):
                if _is_cut_off(self._checked / self._key(place)):
                    raise self._damaged(self._key(place), "it is cut off")
        try:
            return np.asarray(self._array[region])
        except (MemoryError, PermissionError):
            raise
        except Exception as error:  # codecs fail in many ways on damaged bytes
            why = f"{type(error).__name__}: {error}"
            for place, box in self._chunks(region):
                try:
                    self._array[box]
                except Exception:
                    raise self._damaged(self._key(place), why) from error
            raise self._damaged("or several chunks", why) from error

    def _chunks(self, region: Region) -> Iterator[tuple[tuple[int, ...], Region]]:
        """Yields the place of each chunk of a region, and the part of the region in the chunk."""
        grid = self._array.shards or self._array.chunks
        ranges = (range(part.start // step, -(-part.stop // step)) for part, step in zip(region, grid, strict=True))
        for place in itertools.product(*ranges):
            yield (
                place,
                tuple(
                    slice(max(part.start, at * step), min(part.stop, (at + 1) * step))
                    for part, at, step in zip(region, place, grid, strict=True)
                ),
            )

    def _key(self, place: tuple[int, ...]) -> str:
        return str(self._array.metadata.encode_chunk_key(place))

    def _damaged(self, key: str, why: str) -> ImageError:
        chunk = self._chunk.format("/".join(filter(None, (self._array.path, key))))
        return ImageError(f"{chunk} cannot be decoded ({why}); copy the data again", "IMAGE_UNDECODABLE")


def _last(codecs: Sequence[object]) -> object:
    return codecs[-1] if codecs else None


def _is_cut_off(file: Path) -> bool:
    """Tells whether a chunk that Blosc packed is shorter than it says. Blosc reads beyond the end of such a chunk."""
    try:
        with file.open("rb") as chunk:
            header, size = chunk.read(_BLOSC_HEADER), os.fstat(chunk.fileno()).st_size
    except FileNotFoundError:  # a chunk of fill values
        return False
    return len(header) < _BLOSC_HEADER or int.from_bytes(header[-4:], "little") != size


def _opened(path: Path) -> zarr.Array[Any] | zarr.Group:
    if (path / "zarr.json").is_file():
        _check_format(path / "zarr.json")
    elif not any((path / name).is_file() for name in (".zarray", ".zgroup")):
        raise ImageError(
            "the folder is no Zarr store of format 2 or 3: it has neither zarr.json nor .zgroup nor .zarray",
            "IMAGE_UNDECODABLE",
        )
    try:
        return zarr.open(path, mode="r", zarr_format=3 if (path / "zarr.json").is_file() else 2)
    except OSError:
        raise
    except Exception as error:  # damaged metadata fail in many ways
        raise ImageError(
            f"the metadata of the Zarr store cannot be read ({type(error).__name__}: {error})", "IMAGE_UNDECODABLE"
        ) from error


def _check_format(file: Path) -> None:
    try:
        found = json.loads(file.read_bytes()).get("zarr_format")
    except (ValueError, AttributeError):
        found = "unknown"
    if found != 3:
        raise ImageError(f"the Zarr store has the format {found}; formats 2 and 3 are read", "IMAGE_UNDECODABLE")


def _image(group: zarr.Group, path: Path, series: int | None) -> tuple[Multiscales, zarr.Group, Path]:
    """Returns the image of a group that is meant, the group that has its arrays, and where the group is."""
    attributes = dict(group.attrs)
    images = read_multiscales(attributes)
    ome = ome_attributes(attributes)
    if images:
        return images[_choose(len(images), series)], group, path
    if "plate" in ome or "well" in ome:
        raise ImageError(
            "the Zarr store is a plate of wells; give the path of one image, such as plate.zarr/A/1/0", "IMAGE_UNKNOWN"
        )
    if _SERIES in ome:
        count = next(number for number in itertools.count() if not (path / str(number)).is_dir())
        number = _choose(count, series)
        return _image(_child(path / str(number)), path / str(number), None)
    arrays = sorted(name for name, _ in group.arrays())
    listed = ", ".join(arrays[:_MOST_LISTED]) + (", ..." if len(arrays) > _MOST_LISTED else "")
    held = f"its arrays are {listed}: give the path of one of them" if arrays else "it holds no array either"
    raise ImageError(f"the Zarr group describes no OME-Zarr image; {held}", "IMAGE_UNKNOWN", available=len(arrays))


def _child(path: Path) -> zarr.Group:
    node = _opened(path)
    if isinstance(node, zarr.Group):
        return node
    raise ImageError(f"the image {path.name} of the Zarr store is no group", "IMAGE_UNDECODABLE")


def _choose(count: int, series: int | None) -> int:
    if series is None and count == 1:
        return 0
    if series is not None and 0 <= series < count:
        return series
    problem = "" if series is None else f"there is no image {series}; "
    held = "1 image" if count == 1 else f"{count} images"
    raise ImageError(
        f"the Zarr store holds {held}; {problem}choose one by its number, from 0: series (--series N on the command "
        "line)",
        "IMAGE_UNKNOWN",
        available=count,
    )


def _array(group: zarr.Group, name: str, image: Multiscales) -> zarr.Array[Any]:
    try:
        array = group[name]
    except Exception as error:
        raise ImageError(
            f"the array {name} that the OME-Zarr image describes cannot be opened ({type(error).__name__}: {error})",
            "IMAGE_UNDECODABLE",
        ) from error
    if not isinstance(array, zarr.Array) or array.ndim != len(image.axes):
        raise ImageError(
            f"the array {name} does not fit the axes {image.axes} of the OME-Zarr image", "IMAGE_UNDECODABLE"
        )
    return array


def _missing_chunks(array: zarr.Array[Any], path: Path) -> Warnings:
    """Returns the warning about chunks without a file: their pixels have the fill value. Writers omit empty chunks."""
    grid = array.shards or array.chunks
    counts = [-(-length // step) for length, step in zip(array.shape, grid, strict=True)]
    there = set(_files(path))
    missing = sum(
        array.metadata.encode_chunk_key(place) not in there for place in itertools.product(*map(range, counts))
    )
    if not missing:
        return ()
    return ((WarningKind.TILES_MISSING, {"missing": str(missing), "tiles": str(math.prod(counts))}),)


def _files(path: Path) -> Iterator[str]:
    """Yields the files below a folder, relative to it, with slashes."""
    for folder, _, names in os.walk(path):
        start = Path(folder).relative_to(path).as_posix()
        yield from (name if start == "." else f"{start}/{name}" for name in names)
