"""Parts of an image that stand for the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellserve_formats.lazy import LazyImage, Region

CROPS = 9
"""Crops of an image, at most."""
_PROBE = 64  # side of a crop that tells images apart, pixels


def crops(image: LazyImage, side: int) -> Iterator[Region]:
    """Yields up to nine regions of single planes, spread evenly over an image.

    Args:
        image: The image.
        side: Rows and columns of a region; fewer if the image has fewer.

    Yields:
        Regions of all channels. Of an image, three by three of them, as far as they do not overlap. Of a stack, one in
        each of nine planes, in different places.
    """
    length = dict(zip(image.axes, image.shape, strict=True))
    counts = {axis: min(3, max(1, length[axis] // side)) for axis in "YX"}
    places = [(y, x) for y in range(counts["Y"]) for x in range(counts["X"])]
    if planes := length.get("Z", 0):
        chosen = _middles(planes, min(CROPS, planes), 1)
        spread = [(z, places[(number * 2) % len(places)]) for number, z in enumerate(chosen)]
    else:
        spread = [(0, place) for place in places]
    for z, (y, x) in spread:
        first = {axis: _middles(length[axis], counts[axis], side)[n] for axis, n in (("Y", y), ("X", x))} | {"Z": z}
        size = {"Y": side, "X": side, "Z": 1}
        yield tuple(
            slice(first[axis], min(first[axis] + size[axis], length[axis])) if axis in first else slice(None)
            for axis in image.axes
        )


def _middles(length: int, count: int, side: int) -> list[int]:
    """Returns the first pixel of regions in the middles of equal parts of an axis."""
    return [max(0, (2 * part + 1) * length // (2 * count) - side // 2) for part in range(count)]


def fingerprint(image: LazyImage, path: Path | None = None) -> dict[str, Any]:
    """Returns what tells an image apart from others, for JSON: axes, shape, type, and a checksum of some pixels.

    Args:
        image: The image.
        path: Of the image, if it is not an array. Size and time of a file count, too; a folder has none of its own.
    """
    checksum = hashlib.sha256()
    for region in crops(image, _PROBE):
        checksum.update(image.read(region).tobytes())
    state = path.stat() if path is not None and path.is_file() else None
    return {
        "bytes": state and state.st_size,
        "modified_ns": state and state.st_mtime_ns,
        "axes": image.axes,
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "pixels_sha256": checksum.hexdigest(),
    }
