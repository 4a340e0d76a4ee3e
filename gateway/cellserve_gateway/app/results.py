"""What a caller wants in a result, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import Warnings
from cellserve_postprocess import ObjectTable
from numpy.typing import NDArray

from .networks import Network
from .params import DiameterSource

Output = Literal["outlines", "flows", "cell_probability", "style", "maps"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Parts that the caller wants in the result.

    Attributes:
        outputs: Optional parts.
        maps_only: The networks' maps are the result. No masks are recovered.
        labels: The answer holds the label image.
        map_type: Type of flows, cell probability and maps in the answer: float32 or float16.
    """

    outputs: frozenset[Output] = frozenset()
    maps_only: bool = False
    labels: bool = True
    map_type: type[np.floating[Any]] = np.float32

    @property
    def objects_only(self) -> bool:
        """Whether the result holds nothing that the networks alone can tell."""
        return not self.maps_only and self.outputs <= {"outlines"}


Outlines = Sequence[Mapping[int, NDArray[np.int32]]]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The result for one image.

    Attributes:
        labels: uint16 or uint32, [Y, X] or [Z, Y, X]; 0 is background, 1..N are objects. None: only maps were wanted.
        objects: The objects, in the order of their labels.
        params: Parameters as used, all resolved.
        network: The network as used.
        outlines: For each object int32 [k, 2] of (y, x) by plane; plane 0 for an image that is no stack. None: not
            wanted.
        flows: float32 [2, Y, X] along y and x, about unit length inside objects; of a stack [2, Z, Y, X], of a volume
            [3, Z, Y, X] along z, y and x. None: not wanted.
        cell_probability: float32, [Y, X] or [Z, Y, X], logits. None: not wanted.
        maps: float32 [3, Y, X]: 5 * flow along y, 5 * flow along x, logit; of a stack [3, Z, Y, X], of a volume
            [4, Z, Y, X]. None: not wanted.
        style: float32 [256], unit length. None: not wanted.
        warnings: What to know about the result.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32] | None
    objects: ObjectTable
    params: SegmentParams
    diameter_source: DiameterSource
    network: Network
    outlines: Outlines | None = None
    flows: NDArray[np.float32] | None = None
    cell_probability: NDArray[np.float32] | None = None
    maps: NDArray[np.float32] | None = None
    style: NDArray[np.float32] | None = None
    warnings: Warnings = ()

    @property
    def axes(self) -> str:
        """Axes of the label image."""
        return "YX" if self.params.stack_mode is None else "ZYX"


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """What the networks say of an image.

    Attributes:
        maps: float32 [3, Y, X] at the scale of `Plan.recovered`: 5 * flow along y, 5 * flow along x, logit.
        style: float32 [256], unit length. None: not wanted.
    """

    maps: NDArray[np.float32]
    style: NDArray[np.float32] | None
