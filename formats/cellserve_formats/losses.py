"""Warnings about what of a file the pixels of an image leave out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cellserve_contract.warnings import WarningKind, Warnings
from numpy.typing import NDArray

from .exif import UPRIGHT


def orientation_ignored(orientation: int) -> Warnings:
    """Returns the warning about an orientation that viewers apply; none for upright images."""
    if orientation == UPRIGHT:
        return ()
    return ((WarningKind.ORIENTATION_IGNORED, {"orientation": str(orientation)}),)


def alpha_ignored(alpha: NDArray[Any]) -> Warnings:
    """Returns the warning about transparency; none if it is the same everywhere, as in an opaque image."""
    return ((WarningKind.ALPHA_IGNORED, {}),) if _varies(alpha) else ()


def planes_ignored(left_out: NDArray[Any]) -> Warnings:
    """Returns the warning about samples of a pixel beyond its colours; none if they are the same everywhere."""
    return ((WarningKind.PLANES_IGNORED, {"planes": "1"}),) if _varies(left_out) else ()


def tiles_missing(pages: Iterable[Any]) -> Warnings:
    """Returns the warning about tiles that a TIFF file leaves out; none if all are there.

    Args:
        pages: The pages of the image, as tifffile knows them.
    """
    there = [
        bool(offset and size)
        for page in pages
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if all(there):
        return ()
    return ((WarningKind.TILES_MISSING, {"missing": str(there.count(False)), "tiles": str(len(there))}),)


def _varies(values: NDArray[Any]) -> bool:
    return bool(values.size and values.min() != values.max())  # takes no memory
