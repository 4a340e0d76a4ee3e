"""Metadata of OME-Zarr images, versions 0.4 (in Zarr 2) and 0.5 (in Zarr 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .errors import ImageError
from .frame_interval import seconds_of
from .image import PixelSize, check_axes
from .pixel_size import micrometres_of, plausible_size

Version = Literal["0.4", "0.5"]
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")

_TYPES = {"T": "time", "C": "channel"}
_AXES_OF_WORDS = {"time": "T", "channel": "C", "channels": "C"}


@dataclass(frozen=True, slots=True)
class Multiscales:
    """An image at several resolutions.

    Attributes:
        axes: One letter of TCZYX per axis.
        paths: Names of the arrays, the largest first.
        pixel_size: Of the largest array; None where no unit is stated, or an implausible size.
        name: Name of the image; "" where there is none.
        frame_interval_s: Seconds from one time point to the next; None where no unit of time is stated.
        channels: Names of the channels as they are stated, in whatever number.
    """

    axes: str
    paths: tuple[str, ...]
    pixel_size: PixelSize | None
    name: str = ""
    frame_interval_s: float | None = None
    channels: tuple[object, ...] = ()


def ome_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Returns what the attributes of a Zarr group say about images: those below "ome", where version 0.5 puts them."""
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def read_multiscales(attributes: dict[str, Any]) -> tuple[Multiscales, ...]:
    """Reads the images that a Zarr group describes.

    Args:
        attributes: Attributes of the group.

    Returns:
        None, one or more images.

    Raises:
        ImageError: IMAGE_UNDECODABLE: another version, or metadata that break its rules.
    """
    ome = ome_attributes(attributes)
    described = ome.get("multiscales", [])
    try:
        for each in described:
            version = str(each.get("version", ome.get("version", "0.4")))
            if version not in VERSIONS:
                raise ImageError(
                    f"the image is OME-Zarr {version}; versions {' and '.join(VERSIONS)} are read: convert the image",
                    "IMAGE_UNDECODABLE",
                )
        channels = _labels_of_channels(ome)
        return tuple(replace(_multiscales(each), channels=channels) for each in described)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(
            f"the metadata of the OME-Zarr image break the rules ({type(error).__name__}: {error})", "IMAGE_UNDECODABLE"
        ) from error


def axes_of_names(names: Sequence[object]) -> str | None:
    """Returns the letters of named dimensions; None if a name is no letter of TCZYXS and no known word."""
    words = [str(name).lower() for name in names]
    letters = "".join(_AXES_OF_WORDS.get(word, word.upper()) for word in words)
    return letters if len(letters) == len(names) and set(letters) <= set("TCZYXS") else None


def multiscales_attributes(
    axes: str,
    scales: Sequence[Mapping[str, float]],
    translations: Sequence[Mapping[str, float]],
    pixel_size: PixelSize | None,
    name: str,
    version: Version,
    method: str,
) -> dict[str, Any]:
    """Returns the attributes of a Zarr group that describe an image whose arrays are named 0, 1, 2 ...

    Args:
        axes: Letters of TCZYX.
        scales: Of each array: length of a pixel along an axis, in pixels of array 0.
        translations: Of each array: position of its first pixel along an axis, in pixels of array 0.
        pixel_size: Of array 0. None: lengths are pixels, without a unit.
        name: Name of the image.
        version: Of OME-Zarr.
        method: How the smaller arrays were made.
    """
    lengths = dict.fromkeys(axes, 1.0)
    if pixel_size is not None:
        lengths |= {"Y": pixel_size.y, "X": pixel_size.x, "Z": pixel_size.z or 1.0}
    datasets = []
    for number, (scale, translation) in enumerate(zip(scales, translations, strict=True)):
        transformations: list[dict[str, Any]] = [
            {"type": "scale", "scale": [lengths[letter] * scale[letter] for letter in axes]}
        ]
        if any(translation.values()):
            moved = [lengths[letter] * translation[letter] for letter in axes]
            transformations.append({"type": "translation", "translation": moved})
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    multiscales = {
        "name": name,
        "axes": [_axis(letter, pixel_size) for letter in axes],
        "datasets": datasets,
        "type": method,
    }
    if version == "0.5":
        return {"ome": {"version": version, "multiscales": [multiscales]}}
    return {"multiscales": [{"version": version} | multiscales]}


def _axis(letter: str, pixel_size: PixelSize | None) -> dict[str, str]:
    axis = {"name": letter.lower(), "type": _TYPES.get(letter, "space")}
    known = letter in "YX" or (letter == "Z" and pixel_size is not None and pixel_size.z is not None)
    return axis | ({"unit": "micrometer"} if pixel_size is not None and known else {})


def _multiscales(described: Mapping[str, Any]) -> Multiscales:
    stated = described["axes"]
    axes = axes_of_names([axis["name"] for axis in stated])
    if axes is None:
        raise ImageError(
            f"the axes of the OME-Zarr image are {[axis['name'] for axis in stated]}; t, c, z, y and x are read",
            "AXES_UNKNOWN",
        )
    check_axes(axes, len(stated))
    units = {letter: micrometres_of(str(axis.get("unit", ""))) for letter, axis in zip(axes, stated, strict=True)}
    datasets = described["datasets"]
    paths = tuple(str(dataset["path"]) for dataset in datasets)
    if not paths:
        raise ValueError("no dataset")
    own = _scale(datasets[0]["coordinateTransformations"], len(axes))
    common = _scale(described.get("coordinateTransformations", ()), len(axes))
    length = {letter: (units[letter] or math.nan) * a * b for letter, a, b in zip(axes, own, common, strict=True)}
    y, x, z = (length.get(letter, math.nan) for letter in "YXZ")
    interval_s = None
    if "T" in axes:
        at = axes.index("T")
        interval_s = seconds_of(own[at] * common[at], str(stated[at].get("unit", "")))
    name = described.get("name")
    return Multiscales(axes, paths, plausible_size(y, x, z), name if isinstance(name, str) else "", interval_s)


def _labels_of_channels(ome: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the names of channels that settings for viewers have; these settings may break any rule."""
    settings = ome.get("omero")
    channels = settings.get("channels") if isinstance(settings, dict) else None
    if not isinstance(channels, list) or not all(isinstance(channel, dict) for channel in channels):
        return ()
    return tuple(channel.get("label") for channel in channels)


def _scale(transformations: Sequence[Mapping[str, Any]], count: int) -> list[float]:
    """Returns the product of the scales among coordinate transformations."""
    product = [1.0] * count
    for transformation in transformations:
        if transformation["type"] == "scale":
            product = [a * float(b) for a, b in zip(product, transformation["scale"], strict=True)]
    return product
