"""A labelled image: what segmentations are compared with, and what networks learn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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
    """A labelled image.

    Attributes:
        name: File name of the image less its ending and `_img`.
        group: The data set.
        kind: What it shows.
        image: [C, Y, X] of one, two (cytoplasm, nucleus) or three (colour) planes, in the type of its file.
        labels: uint16 or uint32 [Y, X], 0 background, 1..N.
    """

    name: str
    group: str
    kind: Kind
    image: NDArray[Any]
    labels: NDArray[Any]

    def planes(self) -> NDArray[Any]:
        """Cytoplasm and nucleus, [2, Y, X], as the service would choose them."""
        return select_channels(self.image, *default_channels(len(self.image)))
