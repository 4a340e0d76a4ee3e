"""Pixel sizes that TIFF files state, in micrometres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import tifffile

from .image import PixelSize

_MICROMETRES = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4,
    "in": 25400.0, "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "nanometer": 1e-3,
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometre": 1.0, "inch": 25400.0, "inches": 25400.0,
    "decimeter": 1e5, "picometer": 1e-6, "angstrom": 1e-4,
}  # fmt: skip
_RESOLUTION_UNITS = {2: 25400.0, 3: 1e4}  # TIFF ResolutionUnit: inch, centimetre
_PLAUSIBLE = (1e-4, 1e4)  # from a tenth of a nanometre to a centimetre
# Coarser resolutions of TIFF tags and inches are those of screens and printers: 72 dpi is 353 micrometres.
_LARGEST_OF_A_MICROSCOPE = 20.0


def pixel_size(file: tifffile.TiffFile, page: Any, ome: ElementTree.Element | None) -> PixelSize | None:
    """Returns the pixel size that a TIFF file states.

    Args:
        file: The file.
        page: First page of the image.
        ome: Its OME-XML, if it has any.

    Returns:
        The size by OME-XML, else ImageJ's metadata, else the tags XResolution, YResolution and ResolutionUnit. None if
        the unit is missing or the size is implausible.
    """
    if ome is not None:
        return _ome_pixel_size(ome)
    metadata = (file.imagej_metadata or {}) if file.is_imagej else {}
    unit = micrometres_of(str(metadata.get("unit", "")))
    if unit is not None:
        return _by_resolution(page, unit, unit * number(metadata.get("spacing")))
    return _by_resolution(page, _RESOLUTION_UNITS.get(_value(page, "ResolutionUnit")))


def by_pixels_per_metre(y: float, x: float) -> PixelSize | None:
    """Returns the pixel size by resolutions in pixels per metre; None if it is implausible for a microscope."""
    along_y, along_x = (_MICROMETRES["m"] / resolution if resolution else math.nan for resolution in (y, x))
    size = plausible_size(along_y, along_x, math.nan)
    return None if size is not None and max(size.y, size.x) > _LARGEST_OF_A_MICROSCOPE else size


def _ome_pixel_size(root: ElementTree.Element) -> PixelSize | None:
    """Returns the pixel size of the first image of an OME-XML document."""
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            y, x, z = (_ome_length(element.attrib, letter) for letter in "YXZ")
            return plausible_size(y, x, z)
    return None


def _ome_length(attributes: Mapping[str, str], letter: str) -> float:
    unit = micrometres_of(attributes.get(f"PhysicalSize{letter}Unit", "µm"))
    return math.nan if unit is None else unit * number(attributes.get(f"PhysicalSize{letter}"))


def _by_resolution(page: Any, unit: float | None, z: float = math.nan) -> PixelSize | None:
    """Returns the size by the tags that count pixels per unit."""
    if unit is None:
        return None
    y, x = (unit / resolution if (resolution := _ratio(page, f"{letter}Resolution")) else math.nan for letter in "YX")
    size = plausible_size(y, x, z)
    if size is not None and unit in _RESOLUTION_UNITS.values() and max(size.y, size.x) > _LARGEST_OF_A_MICROSCOPE:
        return None
    return size


def plausible_size(y: float, x: float, z: float) -> PixelSize | None:
    """Returns a pixel size, micrometres: without z if z is implausible, None if y or x is. NaN is implausible."""
    low, high = _PLAUSIBLE
    if not (low <= y <= high and low <= x <= high):
        return None
    return PixelSize(y, x, z if low <= z <= high else None)


def micrometres_of(name: str) -> float | None:
    """Returns the micrometres of a unit of length by its name; None for pixels and for unknown units."""
    name = name.replace("\\u00B5", "µ").replace("μ", "µ").strip()  # ImageJ's escape, and the Greek letter
    return _MICROMETRES.get(name, _MICROMETRES.get(name.lower()))


def _ratio(page: Any, tag: str) -> float:
    value = _value(page, tag)
    try:
        numerator, denominator = value
        return float(numerator) / float(denominator)
    except (TypeError, ValueError, ZeroDivisionError):
        return number(value)


def number(value: Any) -> float:
    """Returns a value of the metadata as a number; NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _value(page: Any, tag: str) -> Any:
    found = page.tags.get(tag)
    return None if found is None else found.value
