"""Names of channels that image files state."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

_PLACE_OF_PLANE = re.compile(r"[czt]:\d+/\d+", re.IGNORECASE)  # Bio-Formats labels planes: "c:1/2 z:3/9 - cells.lif"


def channel_names(
    file: tifffile.TiffFile, series: Any, axes: str, shape: Sequence[int], ome: ElementTree.Element | None
) -> tuple[str, ...]:
    """Returns the names of the channels of a TIFF image.

    Args:
        file: The file.
        series: The image.
        axes: Axes of the image once it is read.
        shape: Lengths of these axes.
        ome: OME-XML of the image alone, if the file has any.

    Returns:
        The names by OME-XML, else by the labels of ImageJ's planes. () if the file states none.
    """
    if ome is not None:
        pixels = next((element for element in ome.iter() if element.tag.rpartition("}")[2] == "Pixels"), ())
        names: list[object] = [child.get("Name") for child in pixels if child.tag.rpartition("}")[2] == "Channel"]
    else:
        names = _labels(file, series)
    return fitting_names(names, axes, shape)


def fitting_names(names: Sequence[object], axes: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Returns names as text on one line, "" for a channel without a name.

    Args:
        names: Names that a file states; what is no text is no name.
        axes: Axes of the image.
        shape: Lengths of these axes.

    Returns:
        () if no channel has a name, if there are more or fewer names than channels, or if the image has colour samples.
    """
    found = tuple(" ".join(name.split()) if isinstance(name, str) else "" for name in names)
    channels = dict(zip(axes, shape, strict=True)).get("C", 1)
    return found if "S" not in axes and any(found) and len(found) == channels else ()


def _labels(file: tifffile.TiffFile, series: Any) -> list[object]:
    """Returns for each channel the label that all of its planes have in an ImageJ file; none if they differ."""
    labels = (file.imagej_metadata or {}).get("Labels") if file.is_imagej else None
    outer = [(letter, int(length)) for letter, length in zip(series.axes, series.shape, strict=True) if letter in "TZC"]
    lengths = [length for _, length in outer]
    if not isinstance(labels, list) or "C" not in dict(outer) or len(labels) != math.prod(lengths):
        return []
    at = next(number for number, (letter, _) in enumerate(outer) if letter == "C")
    planes = np.moveaxis(np.array(labels, object).reshape(lengths), at, 0).reshape(lengths[at], -1)
    names: list[object] = [str(channel[0]) for channel in planes]
    same = all(len(set(map(str, channel))) == 1 for channel in planes)
    return names if same and not any(_PLACE_OF_PLANE.match(str(name)) for name in names) else []
