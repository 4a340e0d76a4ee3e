"""OME-Zarr images and label images, written block by block; needs the extra `formats`."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
import zarr.codecs
import zarr.errors
from cellserve_contract.axes import axes_problem
from numpy.typing import DTypeLike, NDArray

from .image import PixelSize
from .ngff import Version, multiscales_attributes, ome_attributes
from .pyramid import Level, halved, levels

LABEL_CHUNKS = {2: (1024, 1024), 3: (32, 256, 256)}
"""By the number of axes: shape of a chunk of a label image. Viewers read whole chunks of each plane."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class OmeZarrWriter:
    """Writes an image or a label image block by block, in bounded memory, then its smaller copies.

    Blocks go into a hidden folder beside the image. `finish` writes the smaller copies and the metadata, and gives the
    folder its name. A run that is killed before leaves no image, and the image of an earlier run as it was. A writer of
    the same path, shape, type and chunks finds the blocks of the killed run.

    Args:
        path: Folder of the image.
        axes: Letters of TCZYX, one per axis.
        shape: Length of each axis.
        dtype: Type of the values; whole numbers without sign for labels.
        chunks: Shape of a chunk. Blocks are made of whole chunks.
        pixel_size: Micrometres; None where unknown.
        version: "0.4" (Zarr format 2) or "0.5" (Zarr format 3).
        labels: Whether the values are labels: smaller copies take every second value. Values of an image are averaged.
        image: Folder of the OME-Zarr image that the labels belong to; its labels are listed there.

    Attributes:
        resumed: Whether blocks of a killed run were found.

    Raises:
        OSError: The folder cannot be written.
        ValueError: Axes, shape and chunks do not fit, or the name has other characters than letters, digits, _ . and -.
    """

    def __init__(
        self,
        path: Path,
        axes: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        *,
        chunks: Sequence[int],
        pixel_size: PixelSize | None = None,
        version: Version = "0.5",
        labels: bool = False,
        image: Path | None = None,
    ) -> None:
        problem = axes_problem(axes, len(shape))
        if problem or "S" in axes or len(chunks) != len(shape) or min(*shape, *chunks) < 1:
            raise ValueError(f"axes {axes}, shape {tuple(shape)} and chunks {tuple(chunks)} make no OME-Zarr image")
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"the name {path.name!r} has other characters than letters, digits, _ . and -")
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self._axes, self._pixel_size, self._version, self._labels, self._image = (
            axes,
            pixel_size,
            version,
            labels,
            image,
        )
        self._levels = levels(axes, tuple(shape), pixel_size)
        self._dtype, self._chunks = np.dtype(dtype), tuple(chunks)
        found = self._found()
        self.resumed = found is not None
        self._full = found or self._started()

    def write(self, region: Sequence[slice], values: NDArray[Any]) -> None:
        """Writes a block; a block that was written before is replaced. Several threads may write different blocks.

        Args:
            region: One slice per axis, with start and stop at the edges of chunks or of the image.
            values: The block.

        Raises:
            OSError: The block cannot be written, as on a full disk.
            ValueError: The region cuts a chunk, or the values have another shape.
        """
        for part, step, length in zip(region, self._chunks, self._full.shape, strict=True):
            if (
                not 0 <= part.start < part.stop <= length
                or part.start % step
                or (part.stop % step and part.stop != length)
            ):
                raise ValueError(f"the region {part} is not made of whole chunks of {step} within 0 to {length}")
        shape = tuple(part.stop - part.start for part in region)
        if values.shape != shape:
            raise ValueError(f"the block has the shape {values.shape}; its region has {shape}")
        self._full[tuple(region)] = values

    def finish(self, threads: int = 1) -> None:
        """Writes the smaller copies, then the metadata, and puts the image into its place, where it replaces another.

        Args:
            threads: Threads that make the smaller copies; each holds a few chunks.

        Raises:
            OSError: The folder cannot be written.
        """
        group = zarr.open_group(self._part, mode="r+")
        larger = self._full
        for number, level in enumerate(self._levels[1:], 1):
            smaller = self._array(group, str(number), level.shape)
            _halve(larger, smaller, level, mean=not self._labels, threads=threads)
            larger = smaller
        group.attrs.put(self._attributes())
        _put_into_place(self._part, self.path)
        if self._image is not None:
            _list_labels(self._image, self.path.name, self._version)

    def _found(self) -> zarr.Array[Any] | None:
        """Returns the largest array of a killed run; None if there is none that fits."""
        try:
            array = zarr.open_array(self._part / "0", mode="r+")
        except (FileNotFoundError, ValueError, KeyError, zarr.errors.BaseZarrError):
            return None
        wanted = (self._levels[0].shape, self._dtype, self._chunk_shape(self._levels[0].shape), self._format)
        return array if (array.shape, array.dtype, array.chunks, array.metadata.zarr_format) == wanted else None

    def _started(self) -> zarr.Array[Any]:
        if self._part.exists():
            shutil.rmtree(self._part)
        self._part.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(self._part, zarr_format=self._format)
        return self._array(group, "0", self._levels[0].shape)

    @property
    def _format(self) -> Any:
        return 2 if self._version == "0.4" else 3

    def _chunk_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(min(step, length) for step, length in zip(self._chunks, shape, strict=True))

    def _array(self, group: zarr.Group, name: str, shape: tuple[int, ...]) -> zarr.Array[Any]:
        """Creates an array. Empty chunks are written, too: a chunk that is not there has been lost."""
        options: dict[str, Any]
        # Runs of equal labels are longer as they are than byte by byte: smaller, in a third of the time.
        level, shuffled = (3, False) if self._labels else (5, True)
        if self._version == "0.4":
            compressor = numcodecs.Blosc(
                "zstd", level, numcodecs.Blosc.SHUFFLE if shuffled else numcodecs.Blosc.NOSHUFFLE
            )
            options = {"compressors": compressor, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
        else:
            options = {
                "compressors": zarr.codecs.BloscCodec(
                    cname="zstd", clevel=level, shuffle="shuffle" if shuffled else "noshuffle"
                ),
                "dimension_names": list(self._axes.lower()),
            }
        return group.create_array(
            name,
            shape=shape,
            dtype=self._dtype,
            chunks=self._chunk_shape(shape),
            fill_value=0,
            overwrite=True,
            config={"write_empty_chunks": True},
            **options,
        )

    def _attributes(self) -> dict[str, Any]:
        scales = [dict(zip(self._axes, map(float, level.scale), strict=True)) for level in self._levels]
        # The mean of two values lies between them, the first of two values lies where it was.
        shift = 0.0 if self._labels else 0.5
        translations = [{axis: shift * (scale - 1) for axis, scale in level.items()} for level in scales]
        method = "nearest" if self._labels else "mean"
        attributes = multiscales_attributes(
            self._axes, scales, translations, self._pixel_size, self.path.name, self._version, method
        )
        if self._labels:
            source = {} if self._image is None else {"source": {"image": "../../"}}
            versioned = {"version": self._version} if self._version == "0.4" else {}
            ome_attributes(attributes)["image-label"] = versioned | source
        return attributes


def labels_beside(
    image: Path,
    name: str,
    axes: str,
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    chunks: Sequence[int],
    pixel_size: PixelSize | None = None,
) -> OmeZarrWriter:
    """Returns the writer of labels that belong to an OME-Zarr image: `labels/<name>` in the folder of the image.

    Args:
        image: Folder of the image, as `LazyImage.folder` has it. The labels get its version of OME-Zarr.
        name: Name of the labels.
        axes: As for `OmeZarrWriter`, as are all others.
        shape: Length of each axis.
        dtype: uint16 or uint32.
        chunks: Shape of a chunk.
        pixel_size: Micrometres.

    Raises:
        OSError: The folder cannot be written.
        ValueError: As `OmeZarrWriter`.
    """
    version: Version = "0.5" if (image / "zarr.json").is_file() else "0.4"
    return OmeZarrWriter(
        image / "labels" / name,
        axes,
        shape,
        dtype,
        chunks=chunks,
        pixel_size=pixel_size,
        version=version,
        labels=True,
        image=image,
    )


def _halve(larger: zarr.Array[Any], smaller: zarr.Array[Any], level: Level, *, mean: bool, threads: int) -> None:
    """Fills an array from the next larger one, chunk by chunk."""

    def fill(place: tuple[int, ...]) -> None:
        target = tuple(
            slice(at * step, min((at + 1) * step, length))
            for at, step, length in zip(place, smaller.chunks, smaller.shape, strict=True)
        )
        source = tuple(
            slice(part.start * step, min(part.stop * step, length))
            for part, step, length in zip(target, level.steps, larger.shape, strict=True)
        )
        smaller[target] = halved(np.asarray(larger[source]), level.steps, mean=mean)

    counts = (range(-(-length // step)) for length, step in zip(smaller.shape, smaller.chunks, strict=True))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, itertools.product(*counts)):
            pass


def _put_into_place(part: Path, path: Path) -> None:
    """Renames a finished folder; an earlier one of its name is removed."""
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if path.exists():
        path.rename(old)
    part.rename(path)
    if old.exists():
        shutil.rmtree(old)


def _list_labels(image: Path, name: str, version: Version) -> None:
    """Adds a name to the labels of an image."""
    group = zarr.open_group(image / "labels", mode="a", zarr_format=2 if version == "0.4" else 3)
    attributes = dict(group.attrs)
    ome = dict(ome_attributes(attributes))
    names = [str(each) for each in ome.get("labels", [])]
    if name not in names:
        ome["labels"] = [*names, name]
        group.attrs.put(attributes | ome if version == "0.4" else attributes | {"ome": {"version": version} | ome})
    _consolidate_again(image, version)


def _consolidate_again(image: Path, version: Version) -> None:
    """Adds the labels to the collected metadata of a store, if the store has any: readers look there alone."""
    if version == "0.4":
        collected = (image / ".zmetadata").is_file()
    else:
        collected = bool(json.loads((image / "zarr.json").read_bytes()).get("consolidated_metadata"))
    if collected:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the store has them already, whatever the format says of them
            zarr.consolidate_metadata(image, zarr_format=2 if version == "0.4" else 3)
