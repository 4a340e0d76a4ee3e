"""Objects as a zip file of ImageJ ROIs; needs the extra `formats`."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_TYPE, ImagejRoi

from .errors import ImageError
from .files import write_bytes
from .polygons import Ring, trace_polygons

LONGEST_SIDE = 60535
"""Rows and columns of the largest image: coordinates of ImageJ's ROIs are whole numbers of 16 bits, from -5000 on."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date of zip files: equal objects make equal files
_UNIX = 3  # the system that wrote the file, the same on all systems
_MODE = 0o644 << 16
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # of the paths of java.awt.geom


def imagej_rois_bytes(labels: NDArray[Any]) -> bytes:
    """Returns the objects as a zip file with one ROI per object, which ImageJ's ROI Manager opens.

    The name of a ROI is the label of the object. Coordinates are pixels, (x, y), with (0, 0) at the outer corner of the
    first pixel. ROIs run along the edges of pixels, as those of ImageJ's wand: ImageJ measures as many pixels as the
    object has. An object in one piece without holes is a traced ROI. An object in several pieces, or with holes, is one
    composite ROI.

    Args:
        labels: Unsigned integers [Y, X], 0 is background.

    Raises:
        ImageError: IMAGE_TOO_LARGE if a side is longer than `LONGEST_SIDE`.
    """
    if max(labels.shape) > LONGEST_SIDE:
        raise ImageError(
            f"ImageJ's ROIs reach {LONGEST_SIDE:,} pixels far, the image has {' x '.join(map(str, labels.shape))}; "
            "write GeoJSON",
            "IMAGE_TOO_LARGE",
            resource="pixels",
            value=max(labels.shape),
            limit=LONGEST_SIDE,
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for label, polygons in trace_polygons(labels):
            entry = zipfile.ZipInfo(f"{label}.roi", _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, _UNIX, _MODE
            archive.writestr(entry, _roi(str(label), [ring for polygon in polygons for ring in polygon]).tobytes())
    return buffer.getvalue()


def write_imagej_rois(path: str | os.PathLike[str], labels: NDArray[Any]) -> None:
    """Writes the objects as a zip file of ImageJ ROIs; arguments and errors as in `imagej_rois_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, imagej_rois_bytes(labels))


def _roi(name: str, rings: list[Ring]) -> ImagejRoi:
    """Returns one object; the rings of holes run the other way round."""
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    roi = ImagejRoi(name=name, top=top, left=left, bottom=bottom, right=right)
    if len(rings) == 1:
        roi.roitype = ROI_TYPE.TRACED
        roi.integer_coordinates = corners.astype(np.int32) - np.array([left, top], np.int32)
        roi.n_coordinates = len(corners)
    else:
        path = np.array([step for ring in rings for step in _path(ring)], np.float32)
        roi.roitype = ROI_TYPE.RECT  # with a path: a composite
        roi.multi_coordinates, roi.shape_roi_size = path, len(path)
    return roi


def _path(ring: Ring) -> list[float]:
    """Returns a closed line as a path of java.awt.geom: a code before each point."""
    (x, y), *others = ring
    return [_MOVE, x, y, *(value for x, y in others for value in (_LINE, x, y)), _CLOSE]
