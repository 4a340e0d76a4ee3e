"""What the network learns to predict: flows and inside, computed once per label image and kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_formats import replacing
from cellserve_postprocess import diffuse, kernel_labels, measure_extents
from numpy.typing import NDArray

_VERSION = b"1"  # a change of how flows are computed must not meet old files


def masks_to_flows(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Computes the flows of a label image by heat diffusion (paper, "Auxiliary vector flow representation").

    Args:
        labels: Integers [Y, X] or [Z, Y, X], 0 is background; numbers may have gaps.

    Returns:
        float32 [2, Y, X], flow along y and flow along x; of a volume [3, Z, Y, X], flow along z, y and x. Unit vectors
        inside objects, zero outside. Also zero where the heat is level, as in objects of one pixel and in the middle of
        symmetric objects.

    Raises:
        ValueError: The array has other axes, no integers, or a number beyond int32.
    """
    objects = kernel_labels(labels)
    _, boxes = measure_extents(objects, int(objects.max(initial=0)))
    return diffuse(objects, boxes)


def cached_flows(labels: NDArray[Any], cache: Path) -> NDArray[np.float16]:
    """Flows of a label image, as `masks_to_flows` computes them, from a file if they were computed before.

    Args:
        labels: uint16 or uint32 [Y, X].
        cache: Folder of one file per label image, named by its content.

    Returns:
        float16 [2, Y, X], mapped from its file and read-only: processes that train on the same images share the memory.
    """
    key = hashlib.sha256(_VERSION + repr((labels.shape, labels.dtype.str)).encode())
    key.update(np.ascontiguousarray(labels).data)
    path = cache / f"{key.hexdigest()[:32]}.npy"
    try:
        return _open(path, labels.shape)
    except (FileNotFoundError, ValueError):
        with replacing(path) as file:
            np.save(file, masks_to_flows(labels).astype(np.float16))
    return _open(path, labels.shape)


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    flows: NDArray[np.float16] = np.load(path, mmap_mode="r")
    if flows.shape != (2, *shape) or flows.dtype != np.float16:
        raise ValueError(f"{path} holds {flows.dtype} {flows.shape}")
    return flows
