"""Results as the `_seg.npy` file of Cellpose."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import write_bytes
from .flows import draw_flows

_FLOW_SCALE = 5  # the networks' planes hold 5 * flow
_MOST_OF_16_BITS = 65534  # as Cellpose: 65,535 objects take 32 bits


def cellpose_seg_bytes(
    labels: NDArray[Any],
    *,
    filename: str,
    diameter: float,
    maps: NDArray[Any] | None = None,
    channels: Sequence[int] = (0, 0),
) -> bytes:
    """Returns a result as the file that Cellpose 3.1 writes, and that the graphical interface of Cellpose opens.

    The file is a pickled dict of NumPy. `masks` and `outlines` are label images, (0, 0) is the first pixel. `outlines`
    has the label of each pixel that has a neighbour above, below, left or right outside of its object; Cellpose leaves
    out the borders of holes. `flows` is empty without `maps`: the interface then shows the objects, and cannot
    recompute them with other thresholds. Positions of pixels after following the flows (`flows[3]`) are always empty.

    Args:
        labels: Unsigned integers [Y, X] or [Z, Y, X], 0 is background.
        filename: Path of the image. The interface looks for the image there, then beside the file.
        diameter: Diameter used, pixels.
        maps: The networks' planes [3, Y, X]: 5 * flow along y, 5 * flow along x, logit. Of a stack [3, Z, Y, X] or,
            with 5 * flow along z first, [4, Z, Y, X].
        channels: Channels of cytoplasm and nuclei as Cellpose counts them: 0 all or none, 1 red, 2 green, 3 blue.
    """
    dtype = np.uint16 if labels.max(initial=0) <= _MOST_OF_16_BITS else np.uint32
    content = {
        "outlines": np.where(_borders(labels), labels, 0).astype(dtype),
        "masks": labels.astype(dtype),
        "chan_choose": list(channels),
        "ismanual": np.zeros(int(labels.max(initial=0)), bool),
        "filename": filename,
        "flows": [[], [], [], [], [[]]] if maps is None else _flows(maps.astype(np.float32)),
        "diameter": float(diameter),
        "est_diam": float(diameter),  # the name that the interface reads
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(content, object))
    return buffer.getvalue()


def write_cellpose_seg(
    path: str | os.PathLike[str],
    labels: NDArray[Any],
    *,
    filename: str,
    diameter: float,
    maps: NDArray[Any] | None = None,
    channels: Sequence[int] = (0, 0),
) -> None:
    """Writes a result as Cellpose does; arguments as in `cellpose_seg_bytes`.

    Raises:
        OSError: The file cannot be written.
    """
    data = cellpose_seg_bytes(labels, filename=filename, diameter=diameter, maps=maps, channels=channels)
    write_bytes(path, data)


def _borders(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Marks the pixels with a neighbour in their plane that has another label, or is outside of the image."""
    rows, columns = labels.shape[-2:]
    padded = np.pad(labels, [*[(0, 0)] * (labels.ndim - 2), (1, 1), (1, 1)])
    border = np.zeros(labels.shape, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        border |= padded[..., y : y + rows, x : x + columns] != labels
    return border


def _flows(maps: NDArray[np.float32]) -> list[Any]:
    """Returns the entry `flows`: pictures of flows and probability, positions, the networks' planes.

    Cellpose puts an axis of length one before the pictures of a single plane.
    """
    probability, planes = _stretched(maps[-1]), [maps[-3:-1] / _FLOW_SCALE]
    if maps.ndim == 3:
        (picture,) = map(draw_flows, planes)
        return [picture[np.newaxis], probability[np.newaxis], np.zeros_like(picture)[np.newaxis], [], maps]
    picture = np.stack([draw_flows(flows) for flows in np.moveaxis(planes[0], 1, 0)])
    return [picture, probability, (maps[0] / 10 * 127 + 127).astype(np.uint8), [], maps]


def _stretched(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns logits in grey, black at the 1st percentile and white at the 99th, as Cellpose shows them."""
    low, high = np.percentile(logits, (1, 99))
    scale = 1 / (high - low) if high > low else 0.0
    grey: NDArray[np.uint8] = (np.clip((logits - low) * scale, 0, 1) * 255).astype(np.uint8)
    return grey
