"""The orientation that EXIF data state."""

from __future__ import annotations

import struct

UPRIGHT = 1
"""Orientation of an image whose first row is the top and whose first column is the left side."""
_ORIENTATION, _SHORT = 0x0112, 3


def exif_orientation(exif: bytes) -> int:
    """Returns the orientation of an image, 1 to 8 as in TIFF; 1 where the data state none.

    Args:
        exif: EXIF data: a TIFF header and its first directory.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return UPRIGHT
    (at,) = struct.unpack_from(order + "I", exif, 4)
    if at + 2 > len(exif):
        return UPRIGHT
    (count,) = struct.unpack_from(order + "H", exif, at)
    first = at + 2
    entries = exif[first : first + 12 * min(count, (len(exif) - first) // 12)]
    for tag, kind, _, value in struct.iter_unpack(order + "HHIH2x", entries):
        if (tag, kind) == (_ORIENTATION, _SHORT):
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
