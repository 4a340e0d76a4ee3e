"""A labelled image or volume: what segmentations are compared with, and what networks learn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from cellserve_preprocess import default_channels, select_channels
from numpy.typing import NDArray


class Kind(StrEnum):
    """What an image shows, judged by its pixels."""

    FLUORESCENCE = "fluorescence"
    """Grey, or two planes; objects brighter than their ground."""
    HISTOLOGY = "histology"
    """In colour."""
    TRANSMITTED = "transmitted"
    """Grey, objects not brighter than their ground: brightfield, phase contrast."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A labelled image or volume.

    Attributes:
        name: File name of the image less its ending and `_img`.
        group: The data set.
        kind: What it shows.
        image: [C, Y, X] or [C, Z, Y, X], in the type of its file. One, two (cytoplasm, nucleus) or three (colour)
            channels.
        labels: uint16 or uint32 [Y, X] or [Z, Y, X], 0 background, 1..N.
        anisotropy: Distance of planes over that of pixels; 1 where the file does not state both.
    """

    name: str
    group: str
    kind: Kind
    image: NDArray[Any]
    labels: NDArray[Any]
    anisotropy: float = 1.0

    @property
    def is_volume(self) -> bool:
        """True: the sample has an axis Z."""
        return self.labels.ndim == 3

    @property
    def diameter(self) -> float | None:
        """Median diameter of the objects in YX planes, pixels; None where there are no objects.

        Networks see sections of objects: those of a ball are smaller than the ball.
        """
        planes = self.labels.reshape(-1, *self.labels.shape[-2:])
        areas = np.concatenate([np.unique(plane[plane > 0], return_counts=True)[1] for plane in planes])
        return float(np.median((2 * np.sqrt(areas / np.pi)).astype(np.float32))) if areas.size else None

    def planes(self) -> NDArray[Any]:
        """Cytoplasm and nucleus, [2, Y, X], as the service would choose them."""
        return select_channels(self.image, *default_channels(len(self.image)))
