"""The images of a Zarr store: an OME-Zarr image, several images (bioformats2raw.layout), a plate, a well."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellserve_formats.channel_names import fitting_names
from cellserve_formats.errors import ImageError
from cellserve_formats.limits import Limits
from cellserve_formats.ngff import ome_attributes, read_multiscales

from .image_file import Contents, Position, squeezed
from .regions import Regions
from .zarr_node import attributes, below, shape_and_dtype

_SERIES = "bioformats2raw.layout"


@dataclass(frozen=True, slots=True)
class _Field:
    """One image of a store.

    Attributes:
        name: Name of the image; "" takes that of its metadata.
        group: Folder of its group.
        number: Number of the image in its group; None: the only one.
        error: Why the store does not lead to the image.
    """

    name: str
    group: Path
    number: int | None = None
    error: ImageError | None = None


def zarr_contents(path: Path, limits: Limits) -> Contents:
    """Describes a Zarr store that is no array; arguments and errors as in `open_images`."""
    fields = list(_fields(path, limits))
    positions = tuple(_described(number, field, limits) for number, field in enumerate(fields))
    regions = Regions([(field.group, field.number) for field in fields], None, limits)
    return Contents(positions, regions.load, (path,), regions.close)


def _fields(path: Path, limits: Limits) -> Iterator[_Field]:
    """Yields the images of a store."""
    found = attributes(path, limits)
    ome = ome_attributes(found)
    if isinstance(ome.get("plate"), dict):
        yield from _of_plate(path, ome["plate"], limits)
    elif isinstance(ome.get("well"), dict):
        yield from _of_well(path, ome["well"], "", limits)
    elif images := read_multiscales(found):
        numbers: Sequence[int | None] = [None] if len(images) == 1 else range(len(images))
        yield from (_Field("", path, number) for number in numbers)
    elif _SERIES in ome:
        groups = itertools.takewhile(Path.is_dir, (path / str(number) for number in itertools.count()))
        fields = [_Field("", group) for group in groups]
        _check_count(len(fields), limits)
        yield from fields
    else:
        raise ImageError(
            "the Zarr group describes no OME-Zarr image, no plate and no series of images; give the path of one of "
            "its arrays",
            "IMAGE_UNKNOWN",
            available=0,
        )


def _of_plate(path: Path, plate: dict[str, Any], limits: Limits) -> Iterator[_Field]:
    wells = plate.get("wells")
    if not isinstance(wells, list) or not all(isinstance(well, dict) for well in wells):
        raise ImageError("the metadata of the plate list no wells", "IMAGE_UNDECODABLE")
    _check_count(len(wells), limits)
    count = 0
    for well in wells:
        name, place = str(well.get("path")), None
        try:
            place = below(path, well.get("path"))
            found = ome_attributes(attributes(place, limits)).get("well")
            if not isinstance(found, dict):
                raise ImageError(f"the metadata of the well {name} list no fields", "IMAGE_UNDECODABLE")
            fields = list(_of_well(place, found, f"{name}/", limits))
        except (ImageError, OSError) as error:
            fields = [_Field(name, path, error=_as_image_error(error, place or path))]
        count += len(fields)
        _check_count(count, limits)
        yield from fields


def _of_well(path: Path, well: dict[str, Any], before: str, limits: Limits) -> Iterator[_Field]:
    fields = well.get("images")
    if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields):
        raise ImageError(f"the metadata of the well {before.rstrip('/')} list no fields", "IMAGE_UNDECODABLE")
    _check_count(len(fields), limits)
    for field in fields:
        name = f"{before}{field.get('path')}"
        try:
            yield _Field(name, below(path, field.get("path")))
        except ImageError as error:
            yield _Field(name, path, error=error)


def _described(number: int, field: _Field, limits: Limits) -> Position:
    """Returns what the metadata say of an image."""
    if field.error is not None:
        return Position(number, field.name, error=field.error)
    try:
        found = read_multiscales(attributes(field.group, limits))
        if not found or (field.number is None and len(found) > 1):
            raise ImageError(f"{field.group.name} describes {len(found)} OME-Zarr images, not one", "IMAGE_UNDECODABLE")
        image = found[field.number or 0]
        shape, dtype = shape_and_dtype(below(field.group, image.paths[0]), limits)
        axes, lengths = squeezed(image.axes, shape)
        return Position(
            number,
            field.name or image.name,
            axes,
            lengths,
            dtype,
            fitting_names(image.channels, axes, lengths),
            image.pixel_size,
            image.frame_interval_s,
            field.group,
        )
    except (ImageError, OSError) as error:
        return Position(number, field.name, error=_as_image_error(error, field.group))


def _as_image_error(error: ImageError | OSError, place: Path) -> ImageError:
    if isinstance(error, ImageError):
        return error
    return ImageError(f"cannot read {place}: {error.strerror or error}", "IMAGE_UNDECODABLE")


def _check_count(images: int, limits: Limits) -> None:
    if images > limits.pages:
        raise ImageError(
            f"the Zarr store describes {images:,} images; the limit is {limits.pages:,}",
            "IMAGE_TOO_LARGE",
            resource="pages",
            value=images,
            limit=limits.pages,
        )
