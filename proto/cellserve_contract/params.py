"""The parameters of a segmentation: each one declared once, with type, bounds, default, help and option.

A new parameter is one field of a class below, one field of proto/cellserve/v1/params.proto and one test. The keywords
of the client, the options of the command line, both codecs, the HTTP query and docs/reference/parameters.md follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .declarations import Param, ParameterError, make_canonical, parameters
from .normalization import Normalization

__all__ = [
    "MIN_SIZE",
    "PARAMETERS",
    "Interpolation",
    "MaskRules",
    "Normalization",
    "ParameterError",
    "RecoveryParams",
    "SegmentParams",
]

MIN_SIZE = 15
"""Default of `min_size` where objects are not so small that it has to be less."""

Interpolation = Literal["bilinear", "nearest"]
MaskRules = Literal["paper", "cellpose3"]
_PERCENTILES = Normalization()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryParams:
    """Which masks are recovered from given network outputs. Each field says what it does.

    Raises:
        ParameterError: On construction, when a value is out of range.
        TypeError: On construction, when a value has a wrong type.
    """

    cellprob_threshold: Annotated[
        float, Param("Pixels above this logit belong to cells; 0 is a probability of one half.", -20, 20)
    ] = 0.0
    flow_threshold: Annotated[float, Param("Objects with a larger flow error are dropped; 0 keeps all.", 0, 100)] = 0.4
    niter: Annotated[int, Param("Steps of one pixel that pixels follow the flows.", 1, 10_000)] = 200
    interpolation: Annotated[
        Interpolation,
        Param(
            "How flows between pixels are computed. nearest, as in the paper, loses objects below 7 pixels of diameter "
            "among larger ones."
        ),
    ] = "bilinear"
    min_size: Annotated[
        int | None,
        Param(
            "Objects of fewer pixels are dropped. Below 11, fewer pixels than otherwise found an object.",
            0,
            1_000_000,
            unit="pixels",
            unset="15; a quarter of the area of a disc of the diameter if that is less, for diameters below 8.7 pixels",
        ),
    ] = None
    max_size_fraction: Annotated[
        float, Param("Objects larger than this share of the image are dropped.", 0, 1, above_low=True)
    ] = 0.4
    fill_holes: Annotated[bool, Param("Holes in objects are filled.")] = True
    exclude_on_edges: Annotated[
        bool, Param("Objects that touch the border of the image are dropped.", option="--exclude-on-edges")
    ] = False
    mask_rules: Annotated[
        MaskRules,
        Param(
            "Where Cellpose 3.1 departs from its paper. paper: a region grows until it is complete, so that regions "
            "that touch are one object. cellpose3: a region grows five times, and regions that touch stay apart."
        ),
    ] = "paper"

    def __post_init__(self) -> None:
        make_canonical(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentParams(RecoveryParams):
    """Everything that decides the outcome for a given image. docs/reference/parameters.md explains each field.

    None (for `model`: "") leaves the choice to the server. Every answer carries the parameters as used, none left out:
    sending them again repeats the result. With OpenVINO in single precision, no bit of the result depends on the load
    of the servers. In bfloat16, or on a GPU, sums can depend on the tiles that share a batch. Every answer names
    precision and runtime.

    Raises:
        ParameterError: On construction, when a value is out of range.
        TypeError: On construction, when a value has a wrong type.
    """

    model: Annotated[
        str, Param("Model family; `cellserve models` lists them.", unset="the server's default", estimate=True)
    ] = ""
    ensemble: Annotated[
        bool,
        Param(
            "Mean of all networks of the family, or one network: about four times faster, less accurate.",
            option="--ensemble/--single",
        ),
    ] = True
    diameter: Annotated[
        float | None,
        Param(
            "Median diameter of the objects.",
            1,
            10_000,
            unit="pixels",
            unset="estimated from the image; the training diameter of a family without a size model",
        ),
    ] = None
    cytoplasm_channel: Annotated[
        int | None,
        Param(
            "Plane that shows cells, zero-based; -1 is the mean of all planes.",
            -1,
            65_535,
            unset="plane 0 of one or two planes, the mean of three",
            estimate=True,
        ),
    ] = None
    nucleus_channel: Annotated[
        int | None,
        Param(
            "Plane that shows nuclei, zero-based; -1 is none.",
            -1,
            65_535,
            unset="plane 1 of two planes if the family was trained with nuclei, else none",
            estimate=True,
        ),
    ] = None
    normalization: Annotated[
        Normalization,
        Param(
            "Intensities that become 0 and 1: percentiles:LOW,HIGH, range:LOW,HIGH, range with two pairs (cytoplasm, "
            "nucleus), or off. cellpose3: percentiles as Cellpose 3.1 takes them, a border of fill included.",
            estimate=True,
        ),
    ] = _PERCENTILES
    tile_overlap: Annotated[float, Param("Overlap of neighbouring tiles as a fraction of the tile.", 0, 0.5)] = 0.1
    augment: Annotated[
        bool,
        Param("Average over flipped tiles at 50 % overlap, at about three times the cost.", option="--augment"),
    ] = False

    def __post_init__(self) -> None:
        if self.diameter == 0:
            object.__setattr__(self, "diameter", None)
        make_canonical(self)


PARAMETERS = parameters(SegmentParams)
"""All parameters by name: those of the whole image first, then those of mask recovery."""
