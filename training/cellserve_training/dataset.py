"""Labelled images: what is wrong with them, what they show."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cellserve_evaluation.labels import LabelsError, check_labels, read_labels, split_name
from cellserve_evaluation.sample import Kind, Sample
from cellserve_formats import Image, ImageError, planes, read_image
from cellserve_networks.errors import PickledFileError
from cellserve_networks.pickles import load_pickled
from cellserve_preprocess import ParameterError, default_channels, select_channels
from numpy.typing import NDArray

from .pairs import ASK, DataError, Pair

BRIGHTER = 0.05
"""Objects of fluorescence are brighter than their ground by more than this share of the image's range."""
COLOURED = 2.0
"""Mean spread between red, green and blue of a colour image, in grey levels of 255."""

_SEG = "_seg"

OnBad = Literal["skip", "refuse"]

log = logging.getLogger(__name__)


def read_samples(
    pairs: Iterable[Pair], on_bad: OnBad = "refuse", volumes: bool = False
) -> tuple[list[Sample], list[DataError]]:
    """Reads labelled images.

    Args:
        pairs: What `pairs.find_pairs` found.
        volumes: As `read_sample`.
        on_bad: "skip" leaves bad ones out and logs each; "refuse" reads on, so that all faults are named at once, and
            then raises.

    Returns:
        The good ones, and what was wrong with the others.

    Raises:
        ExceptionGroup: Of `DataError`: on_bad is "refuse" and some are bad.
        DataError: None is good.
    """
    samples, faults = [], []
    for pair in pairs:
        try:
            samples.append(read_sample(pair, volumes))
        except DataError as error:
            faults.append(error)
            log.warning("%s", error)
    if faults and on_bad == "refuse":
        raise ExceptionGroup(f"{len(faults)} of {len(faults) + len(samples)} labelled images are bad", faults)
    if not samples:
        raise DataError(faults[0].path.parent if faults else Path(), "none of the labelled images can be used")
    return samples, faults


def read_sample(pair: Pair, volumes: bool = False) -> Sample:
    """Reads one labelled image.

    Args:
        pair: Its files.
        volumes: Whether images with an axis Z are taken; networks learn from 2-D images alone.

    Raises:
        DataError: A file is missing or damaged, the labels are not integers, not of the image's shape, or all zero.
    """
    if pair.image is None:
        raise DataError(pair.labels or Path(pair.name), "labels without an image of the same name")
    if pair.labels is None:
        if pair.result:
            raise DataError(pair.image, f"its only labels are a result, {pair.result.name}: {ASK}")
        raise DataError(
            pair.image,
            f"no labels: neither {pair.name}_masks.* nor {pair.name}_seg.npy beside it, nor {pair.name}.* in a folder "
            "masks/ beside images/",
        )
    image, anisotropy = read_channels(pair.image, volumes)
    labels = _read_labels(pair.labels, image.ndim - 1)
    if image.shape[1:] != labels.shape:
        raise DataError(pair.labels, f"labels of shape {labels.shape}, the image {pair.image.name} {image.shape[1:]}")
    if labels.all() and labels.max() == 1:
        raise DataError(pair.labels, "one object covers the whole image; 0 is background")
    return Sample(pair.name, pair.group, judge_kind(image, labels), image, labels, anisotropy)


def judge_kind(image: NDArray[Any], labels: NDArray[Any]) -> Kind:
    """Tells what an image shows.

    Args:
        image: [C, Y, X] or [C, Z, Y, X].
        labels: [Y, X] or [Z, Y, X].
    """
    image, labels = image.reshape(len(image), -1, image.shape[-1]), labels.reshape(-1, image.shape[-1])
    if len(image) == 3 and float(np.ptp(image.astype(np.float32), axis=0).mean()) > COLOURED * _range(image) / 255:
        return Kind.HISTOLOGY
    grey = select_channels(image, *default_channels(len(image)))[0]
    inside = labels > 0
    if not inside.any() or inside.all():
        return Kind.FLUORESCENCE
    contrast = float(np.median(grey[inside]) - np.median(grey[~inside]))
    return Kind.FLUORESCENCE if contrast > BRIGHTER * _range(grey) else Kind.TRANSMITTED


def _range(values: NDArray[Any]) -> float:
    low, high = np.percentile(values, (1, 99))
    return float(high - low)


def read_channels(path: Path, volumes: bool = False) -> tuple[NDArray[Any], float]:
    """Reads an image.

    Args:
        path: TIFF, PNG or JPEG file.
        volumes: Whether an axis Z is taken.

    Returns:
        [C, Y, X] or [C, Z, Y, X] of one, two or three channels, in the type of the file, finite. The distance of planes
        over that of pixels; 1 where the file does not state both.

    Raises:
        DataError: The file cannot be read, or has more channels or other axes.
    """
    try:
        image = read_image(path, stacks=volumes, threads=None)
        pixels = _stack(image) if "Z" in image.axes else planes(image)
    except OSError as error:
        raise DataError(path, error.strerror or str(error)) from error
    except ImageError as error:
        raise DataError(path, error.message) from error
    try:
        default_channels(len(pixels))
    except ParameterError as error:
        raise DataError(path, f"{len(pixels)} channels, expected grey, cytoplasm and nucleus, or colour") from error
    size = image.pixel_size
    return np.ascontiguousarray(pixels), size.z / size.y if size and size.z else 1.0


def _stack(image: Image) -> NDArray[Any]:
    """Returns the channels of a volume, [C, Z, Y, X], a view."""
    if not set(image.axes) <= set("CZYX"):
        raise ImageError(f"a volume of axes {image.axes}; expected ZYX or ZCYX", "AXES_UNKNOWN")
    stack = np.transpose(image.pixels, [image.axes.index(letter) for letter in "CZYX" if letter in image.axes])
    return stack if "C" in image.axes else stack[np.newaxis]


def _read_labels(path: Path, dimensions: int) -> NDArray[Any]:
    try:
        seg = split_name(path)[0].lower().endswith(_SEG)
        labels = check_labels(_read_seg(path), dimensions) if seg else read_labels(path, dimensions)
    except LabelsError as error:
        raise DataError(path, str(error)) from error
    if not labels.any():
        raise DataError(path, "no object: all labels are 0")
    numbers, index = np.unique(labels, return_inverse=True)
    renumbered = index.reshape(labels.shape) + (0 if numbers[0] == 0 else 1)  # no background: labels start at 1
    return renumbered.astype(np.uint16 if len(numbers) <= 65535 else np.uint32)


def _read_seg(path: Path) -> NDArray[Any]:
    try:
        content = load_pickled(path)
    except PickledFileError as error:
        raise DataError(path, str(error).removeprefix(f"{path}: ")) from error
    masks = content.get("masks") if isinstance(content, dict) else None
    if not isinstance(masks, np.ndarray):
        raise DataError(path, "it holds no masks")
    return masks
