"""Results as pictures and as files."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from cellserve_formats import Image, stack
from cellserve_formats.cell_probability import cell_probability_png_bytes, cell_probability_tiff_bytes
from cellserve_formats.files import write_bytes
from cellserve_formats.flows import flows_png_bytes, flows_tiff_bytes
from cellserve_formats.geojson import geojson_bytes
from cellserve_formats.labels_png import labels_png_bytes
from cellserve_formats.labels_tiff import labels_tiff_bytes
from cellserve_formats.montage import montage
from cellserve_formats.overlay import OverlayOptions, draw_overlay, overlay_bytes
from cellserve_formats.png import png_bytes
from cellserve_formats.table_csv import table_csv_bytes
from numpy.typing import NDArray

from .images import ImageLike

if TYPE_CHECKING:
    from .results import Segmentation

ENDINGS = {
    "flows": "_flows.tif",
    "flows_picture": "_flows.png",
    "cell_probability": "_probability.tif",
    "cell_probability_picture": "_probability.png",
    "overlay": "_overlay.png",
    "table": "_objects.csv",
    "labels": "_cp_masks.tif",
}
"""What the names of result files end in, by what the files hold, in the order in which they are written."""

LARGE_ENDINGS = {
    "overlay": ENDINGS["overlay"],
    "csv": ENDINGS["table"],
    "table": "_objects.parquet",
    "labels": "_cp_masks.ome.zarr",
}
"""As `ENDINGS`, for images that no call can hold."""

LABELS_IN_IMAGE = "labels/cellserve"
"""Folder of the labels in that of their OME-Zarr image."""

_LONGEST = 255 - len("..part")  # bytes of a name on common file systems, less what a name has while it is written
_STORES = (".ome.zarr", ".zarr")
_NOT_IN_ZARR = re.compile(r"^[.-]|[^A-Za-z0-9_.-]")

# By the ending that a caller gives; the first that fits counts.
_KINDS = {ending: kind for kind, ending in ENDINGS.items()} | {
    ".tif": "labels",
    ".tiff": "labels",
    ".png": "labels_picture",
    ".npy": "labels_array",
    ".csv": "table",
    ".geojson": "outlines",
}


def result_stem(image: Path) -> str:
    """Returns what the names of all results of an image begin with.

    That is the name of its file without the ending. A name that would be too long ends in a checksum instead.
    """
    stem = next((image.name.removesuffix(end) for end in _STORES if image.name.endswith(end)), image.stem) or image.stem
    name, most = os.fsencode(stem), _LONGEST - max(map(len, (*ENDINGS.values(), *LARGE_ENDINGS.values())))
    if len(name) <= most:
        return stem
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    kept = stem
    while len(os.fsencode(kept)) > most - len(mark):  # whole characters
        kept = kept[:-1]
    return kept + mark


def large_results(stem: Path) -> dict[str, Path]:
    """Returns the result files of an image that no call can hold, by what they hold.

    Args:
        stem: Path that their names begin with. Readers of OME-Zarr take only letters, digits, _ . and - in the name of
            a label image: _ takes the place of others.
    """
    results = {kind: stem.with_name(stem.name + ending) for kind, ending in LARGE_ENDINGS.items()}
    labels = results["labels"]
    return results | {"labels": labels.with_name(_NOT_IN_ZARR.sub("_", labels.name))}


def run_folder(stem: Path) -> Path:
    """Returns the folder in which an image that no call can hold keeps what is half done, unless another is named.

    Args:
        stem: Path that the names of the results begin with.
    """
    return stem.with_name(f".{stem.name}.cellserve")


def overlay(result: Segmentation, image: Image, **options: Unpack[OverlayOptions]) -> NDArray[np.uint8]:
    """Draws a result on its image; see `Segmentation.overlay`.

    Raises:
        ValueError: The image has another size, or the result has no labels.
    """
    _check_size(result, image)
    if result.labels.ndim == 3:
        return montage(shown(result, image), result.labels, anisotropy=result.params.anisotropy or 1.0)
    return draw_overlay(image, result.labels, *channels(result), **options)


def save(result: Segmentation, path: str | os.PathLike[str], image: ImageLike | None = None) -> list[Path]:
    """Writes a result; see `Segmentation.save`."""
    place = Path(path)
    in_folder = os.fspath(path).endswith(("/", os.sep)) or place.is_dir()
    if place.suffix and not in_folder:
        contents = {place: content(result, _kind(place), image)}
    else:
        stem = place / _name(result, place) if in_folder else place
        contents = {
            stem.with_name(stem.name + ending): content(result, kind, image)
            for kind, ending in ENDINGS.items()
            if _has(result, kind, image)
        }
    for file, data in contents.items():  # all are made before the first is written
        write_bytes(file, data)
    return list(contents)


def channels(result: Segmentation) -> tuple[int, int]:
    """Returns the planes of cytoplasm and nuclei that a result is of, -1 for all planes and for none."""
    cytoplasm, nucleus = result.params.cytoplasm_channel, result.params.nucleus_channel
    return -1 if cytoplasm is None else cytoplasm, -1 if nucleus is None else nucleus


def shown(result: Segmentation, image: Image) -> NDArray[Any]:
    """Returns the channels of a stack that a picture of it shows, [Z, C, Y, X]."""
    pixels = stack(image)
    if pixels.shape[1] <= 2:
        return pixels
    cytoplasm, nucleus = channels(result)
    if cytoplasm < 0:
        return pixels[:, :3]
    return pixels[:, [cytoplasm] if nucleus < 0 else [cytoplasm, nucleus]]


def content(
    result: Segmentation, kind: str, image: ImageLike | None = None, **options: Unpack[OverlayOptions]
) -> bytes:
    """Returns a result file.

    Args:
        result: The result.
        kind: A key of `ENDINGS`, "labels_picture", "labels_array" or "outlines".
        image: The image, for an overlay. None: the image that the result refers to.
        **options: What an overlay shows.

    Raises:
        ValueError: The result lacks what the file should hold, or the image is not there.
    """
    size = result.pixel_size
    match kind:
        case "labels":
            return labels_tiff_bytes(result.labels, size, result.axes)
        case "labels_picture":
            return labels_png_bytes(result.labels, size)
        case "labels_array":
            file = io.BytesIO()
            np.save(file, result.labels)
            return file.getvalue()
        case "table":
            return table_csv_bytes(_rows(result), result.axes, size)
        case "outlines":
            return geojson_bytes(result.labels, _rows(result), size)
        case "overlay":
            pixels = result.source.image_of(image)
            if result.labels.ndim == 3:
                return png_bytes(overlay(result, pixels))
            _check_size(result, pixels)
            return overlay_bytes(pixels, result.labels, *channels(result), **options)
        case "flows":
            return flows_tiff_bytes(_wanted(result, "flows"), size)
        case "flows_picture":
            return flows_png_bytes(_wanted(result, "flows"), size)
        case "cell_probability":
            return cell_probability_tiff_bytes(_wanted(result, "cell_probability"), size)
        case "cell_probability_picture":
            return cell_probability_png_bytes(_wanted(result, "cell_probability"), size)
    raise ValueError(f"unknown kind of result file: {kind}")


def _kind(path: Path) -> str:
    """Returns what a file should hold, by its name."""
    for ending, kind in _KINDS.items():
        if path.name.lower().endswith(ending):
            return kind
    raise ValueError(
        f"{path}: the ending {path.suffix} is unknown; known: {', '.join(_KINDS)}. A name without an ending writes all "
        "results"
    )


def _rows(result: Segmentation) -> Iterator[dict[str, int | float]]:
    return (entry.row() for entry in result.objects)


def _wanted(result: Segmentation, output: str) -> NDArray[Any]:
    """Returns an optional part of a result."""
    values: NDArray[Any] | None = getattr(result, output)
    if values is None:
        raise ValueError(f"this result has no {output}: ask for it with outputs=['{output}']")
    return values


def _has(result: Segmentation, kind: str, image: ImageLike | None) -> bool:
    """Tells whether a result has what a file should hold."""
    if kind == "overlay":
        return result.label_image is not None and not (image is None and result.source.image is None)
    if kind == "labels":
        return result.label_image is not None
    return kind == "table" or getattr(result, kind.removesuffix("_picture")) is not None


def _name(result: Segmentation, folder: Path) -> str:
    """Returns the name of the image, for files in a folder."""
    if not result.source.name:
        raise ValueError(f"{folder} is a folder, and the image has no name: add a name, such as {folder / 'cells'}")
    return result.source.name


def _check_size(result: Segmentation, image: Image) -> None:
    length = dict(zip(image.axes, image.pixels.shape, strict=True))
    size = tuple(length.get(axis, 1) for axis in result.axes)
    if size != result.labels.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (size, result.labels.shape)]
        raise ValueError(f"the image has {sizes[0]} pixels, the result {sizes[1]}")
