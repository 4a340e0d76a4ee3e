"""Label images in memory as OME-Zarr; needs the extra `formats`."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .image import PixelSize
from .ome_zarr import LABEL_CHUNKS, OmeZarrWriter, labels_beside


def write_labels_zarr(
    path: str | os.PathLike[str],
    labels: NDArray[Any],
    pixel_size: PixelSize | None = None,
    axes: str = "YX",
    image: Path | None = None,
) -> None:
    """Writes a label image as OME-Zarr, with smaller copies; the folder is whole or not there.

    Pixels have the indices of the array, (y, x). The centre of the first pixel is at 0 in the coordinates of OME-Zarr,
    whose unit is the micrometre if the pixel size is known.

    Args:
        path: Folder of the label image. Its name has letters, digits, _ . and - only.
        labels: uint16 or uint32, one axis per letter of `axes`.
        pixel_size: That of the segmented image, micrometres.
        axes: "YX" or "ZYX".
        image: Folder of the OME-Zarr image that the labels belong to. The labels get its version of OME-Zarr, and the
            path `labels/NAME` in that folder. None: labels of their own, in version 0.5.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The name has other characters, or the path is not in the folder `labels` of the image.
    """
    path, chunks = Path(path), LABEL_CHUNKS[len(axes)]
    if image is None:
        writer = OmeZarrWriter(
            path, axes, labels.shape, labels.dtype, chunks=chunks, pixel_size=pixel_size, labels=True
        )
    elif path.parent != image / "labels":
        raise ValueError(f"{path} is not in {image / 'labels'}, where the labels of the image belong")
    else:
        writer = labels_beside(image, path.name, axes, labels.shape, labels.dtype, chunks=chunks, pixel_size=pixel_size)
    steps = [range(0, length, step) for length, step in zip(labels.shape, chunks, strict=True)]
    for corner in itertools.product(*steps):
        block = tuple(
            slice(first, min(first + step, length))
            for first, step, length in zip(corner, chunks, labels.shape, strict=True)
        )
        writer.write(block, labels[block])
    writer.finish()
