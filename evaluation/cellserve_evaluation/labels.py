"""Labels of images and volumes that people and programs drew: finding their files, reading, refusing what is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_formats import ImageError, file_format, planes, read_image
from numpy.typing import NDArray
from skimage.measure import label as connected_pieces

IMAGE_ENDINGS = (".png", ".ome.tif", ".ome.tiff", ".tif", ".tiff", ".btf", ".tf8", ".jpg", ".jpeg")
"""Endings of image files, in lower case. Image files are read by their content, whatever the ending."""
_ENDINGS = (*IMAGE_ENDINGS, ".npy")

_PIECES_PER_LABEL = 2
_SPECK = 0.1  # pieces below this share of the largest piece do not count: label images have such fragments


class LabelsError(ValueError):
    """A file or an array that is no label image. The message does not name the file."""


def split_name(path: Path) -> tuple[str, str]:
    """Returns the name of a file without its ending, and the ending in lower case.

    Args:
        path: The ending is "" unless the file is an image or an array.
    """
    ending = next((ending for ending in _ENDINGS if path.name.lower().endswith(ending)), "")
    return path.name[: len(path.name) - len(ending)], ending


def by_stem(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Groups images and arrays by their names in lower case, without endings; the preferred ending comes first."""
    named: dict[str, list[Path]] = {}
    known = [(*split_name(path), path) for path in files if split_name(path)[1]]
    for stem, _, path in sorted(known, key=lambda entry: (_ENDINGS.index(entry[1]), entry[2])):
        named.setdefault(stem.lower(), []).append(path)
    return named


def find_labels(files: Mapping[str, list[Path]], stems: Sequence[str]) -> Path | None:
    """Finds a file of labels by its name.

    Args:
        files: Candidates, as `by_stem` groups them.
        stems: Names without ending, the preferred one first. Case decides only between names that are equal otherwise.

    Returns:
        The file; None if there is none.
    """
    for stem in stems:
        if found := files.get(stem.lower()):
            return next((path for path in found if split_name(path)[0] == stem), found[0])
    return None


def read_labels(path: Path, dimensions: int = 2) -> NDArray[Any]:
    """Reads a label image or a label volume. The indexes of a palette are the labels.

    Args:
        path: TIFF, PNG or NumPy file.
        dimensions: 2: a label image; 3: the labels of a volume. The axes of a TIFF file that names none are ZYX then.

    Returns:
        As `check_labels`.

    Raises:
        LabelsError: The file cannot be read, or its content is no label image.
    """
    try:
        pixels = _read_array(path) if split_name(path)[1] == ".npy" else _read_pixels(path, dimensions)
    except OSError as error:
        raise LabelsError(error.strerror or str(error)) from error
    except ImageError as error:
        raise LabelsError(error.message) from error
    return check_labels(pixels, dimensions)


def _read_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise LabelsError("it is no file of a NumPy array of numbers, or is damaged") from error
    return array


def _read_pixels(path: Path, dimensions: int) -> NDArray[Any]:
    with path.open("rb") as file:
        if file_format(file.read(16)) == "jpeg":
            raise LabelsError("JPEG changes labels; save them as PNG or TIFF")
    if dimensions == 3:
        image = read_image(path, axes="ZYX", as_stored=True, threads=None)
        if image.axes != "ZYX":
            raise LabelsError(f"labels of axes {image.axes}, expected ZYX as the image has")
        return image.pixels
    pixels = planes(read_image(path, stacks=False, as_stored=True, threads=None))
    if len(pixels) != 1:
        raise LabelsError(
            f"labels of {len(pixels)} planes, expected one; save the numbers of the objects, not a picture in colours"
        )
    plane: NDArray[Any] = pixels[0]
    return plane


def check_labels(labels: NDArray[Any], dimensions: int = 2) -> NDArray[Any]:
    """Checks that an array can be a label image, or the labels of a volume.

    Args:
        labels: Whole numbers of any real dtype; other axes than the last two or three have length one.
        dimensions: 2 or 3.

    Returns:
        Integers [Y, X] or [Z, Y, X], 0 is background.

    Raises:
        LabelsError: The numbers are negative or have fractions, there are other axes, or objects share their numbers.
    """
    if labels.dtype.kind not in "biuf":
        raise LabelsError(f"labels are {labels.dtype}, expected integers")
    if labels.ndim != dimensions:
        labels = np.squeeze(labels)
    if labels.ndim != dimensions:
        raise LabelsError(f"labels of shape {labels.shape}, expected {'two' if dimensions == 2 else 'three'} axes")
    if labels.dtype.kind == "f":
        labels = _whole(labels)
    labels = labels.view(np.uint8) if labels.dtype == bool else labels
    if labels.min(initial=0) < 0:
        raise LabelsError(f"a label of {labels.min()}, expected 0 and above")
    _check_pieces(labels)
    return labels


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Returns floating-point numbers without fractions as integers."""
    if not np.all(np.isfinite(labels)) or np.any(labels % 1) or np.abs(labels).max(initial=0) >= 1 << 53:
        raise LabelsError(f"labels are {labels.dtype} with fractions, expected whole numbers")
    return labels.astype(np.int64)


def _check_pieces(labels: NDArray[Any]) -> None:
    """Refuses masks of inside and outside, and of classes: all objects of a class have one number there."""
    numbers = np.unique(labels[labels > 0])
    areas = np.bincount(connected_pieces(labels, background=0, connectivity=labels.ndim).ravel())[1:]
    pieces = int(np.count_nonzero(areas >= _SPECK * areas.max(initial=0)))
    if numbers.size and pieces >= _PIECES_PER_LABEL * numbers.size:
        which = f"one number, {numbers[0]}," if numbers.size == 1 else f"{numbers.size} numbers"
        raise LabelsError(
            f"a mask, no labels: {which} for {pieces} separate objects; give each object a number of its own, "
            "for example with scipy.ndimage.label, or Analyze Particles and Count Masks in Fiji"
        )
