"""Outlines of objects as the text file of Cellpose."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from .files import write_bytes


def cellpose_outlines_bytes(outlines: Iterable[NDArray[Any]]) -> bytes:
    """Returns outlines as Cellpose writes them into `_cp_outlines.txt`: a line `x,y,x,y,...` for each object.

    Line n is the object with label n. The points are the border pixels of the object in order, zero-based: (0, 0) is
    the first pixel itself, not its corner. Add 0.5 to both coordinates for the centres of pixels in ImageJ and QuPath.
    The format has one line per object: of an object in several pieces the longest outline, without holes. Cellpose
    leaves the line of an object with at most four border pixels empty. Here it has all points.

    Args:
        outlines: For each object whole numbers [k, 2], (y, x), as in `Object.outline`; k = 0 is an empty line.
    """
    lines = (",".join(map(str, points[:, ::-1].ravel().tolist())) for points in outlines)
    return "".join(f"{line}\n" for line in lines).encode()


def write_cellpose_outlines(path: str | os.PathLike[str], outlines: Iterable[NDArray[Any]]) -> None:
    """Writes outlines as Cellpose does; arguments as in `cellpose_outlines_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, cellpose_outlines_bytes(outlines))
