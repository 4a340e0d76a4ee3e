"""The parameters of a segmentation: each one declared once, with type, bounds, default, help and option.

A new parameter is one field of a class below, one field of proto/cellserve/v1/params.proto and one test. The keywords
of the client, the options of the command line, both codecs, the HTTP query and docs/reference/parameters.md follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from .declarations import Param, ParameterError, make_canonical, parameters
from .normalization import Normalization

__all__ = [
    "DEFAULT_THRESHOLDS",
    "MIN_SIZE",
    "PARAMETERS",
    "PRESETS",
    "Interpolation",
    "MaskRules",
    "Normalization",
    "ParameterError",
    "Preset",
    "RecoveryParams",
    "SegmentParams",
    "StackMode",
    "TileMargin",
    "preset_values",
]

MIN_SIZE = 15
"""Default of `min_size` where objects are not so small that it has to be less."""

NITER = 200
"""Default of `niter`, and steps of Cellpose 3.1 for objects of the networks' diameter."""

DEFAULT_THRESHOLDS = {
    "paper": {2: (0.0, 0.4), 3: (-0.75, 0.7)},
    "cellpose3": {2: (0.0, 0.4), 3: (0.0, 0.0)},
}
"""Defaults of `cellprob_threshold` and `flow_threshold` by `mask_rules` and the number of axes. Means of views are less
certain, and their flows fit three-dimensional shapes less well: docs/decisions/0029. Cellpose 3.1 does not measure flow
errors of volumes."""

Interpolation = Literal["bilinear", "nearest"]
MaskRules = Literal["paper", "cellpose3"]
StackMode = Literal["volume", "stitch", "planes"]
TileMargin = Literal["fixed", "cellpose3"]
Preset = Literal["cellpose3"]
_PERCENTILES = Normalization()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryParams:
    """Which masks are recovered from given network outputs. Each field says what it does.

    Raises:
        ParameterError: On construction, when a value is out of range.
        TypeError: On construction, when a value has a wrong type.
    """

    cellprob_threshold: Annotated[
        float | None,
        Param(
            "Pixels above this logit belong to cells; 0 is a probability of one half.",
            -20,
            20,
            unset="0; -0.75 in volumes by the rules of paper, whose logits are means of three views",
        ),
    ] = None
    flow_threshold: Annotated[
        float | None,
        Param(
            "Objects with a larger flow error are dropped; 0 keeps all.",
            0,
            100,
            unset="0.4; in volumes 0.7, and 0 by the rules of cellpose3",
        ),
    ] = None
    niter: Annotated[
        int | None,
        Param(
            "Steps of one pixel that pixels follow the flows.",
            1,
            10_000,
            unset="200; by the rules of cellpose3, 200 times the diameter over that of the networks",
        ),
    ] = None
    interpolation: Annotated[
        Interpolation,
        Param(
            "How flows between pixels are computed; bilinear is trilinear in volumes. nearest, as in the paper, loses "
            "objects below 7 pixels of diameter among larger ones."
        ),
    ] = "bilinear"
    min_size: Annotated[
        int | None,
        Param(
            "Objects of fewer pixels, in volumes voxels, are dropped. Below 11, fewer than otherwise found an object.",
            0,
            1_000_000,
            unit="pixels",
            unset="15; in images of diameters below 8.7 pixels, a quarter of the area of a disc of the diameter",
        ),
    ] = None
    max_size_fraction: Annotated[
        float, Param("Objects larger than this share of the image or volume are dropped.", 0, 1, above_low=True)
    ] = 0.4
    min_volume_fraction: Annotated[
        float,
        Param(
            "In volumes, objects below this share of the median volume are dropped; 0 keeps all. The median is that of "
            "the objects that no other rule drops. Images do not use it. Cellpose 3.1 has no such rule.",
            0,
            1,
        ),
    ] = 0.1
    fill_holes: Annotated[
        bool,
        Param(
            "Holes in objects are filled; in volumes, cavities that no path along the axes connects with the outside. "
            "A cup or a ring of voxels stays open."
        ),
    ] = True
    exclude_on_edges: Annotated[
        bool,
        Param(
            "Objects that touch the border of the image are dropped. In volumes that is the border of the planes: the "
            "first and the last plane of a thin stack cut most objects, so they do not count.",
            option="--exclude-on-edges",
        ),
    ] = False
    mask_rules: Annotated[
        MaskRules,
        Param(
            "Where Cellpose 3.1 departs from its paper. paper: a region grows until it is complete, so that regions "
            "that touch are one object. cellpose3: a region grows five times, and regions that touch stay apart; in "
            "volumes, flows are read up to half a voxel nearer to the faces."
        ),
    ] = "paper"

    def __post_init__(self) -> None:
        make_canonical(self)

    def resolved(self, axes: int) -> Self:
        """Returns the parameters with the defaults of an image (2 axes) or a volume (3 axes) in place of None."""
        logit, error = DEFAULT_THRESHOLDS[self.mask_rules][axes]
        return replace(
            self,
            cellprob_threshold=logit if self.cellprob_threshold is None else self.cellprob_threshold,
            flow_threshold=error if self.flow_threshold is None else self.flow_threshold,
            niter=NITER if self.niter is None else self.niter,
            min_size=MIN_SIZE if self.min_size is None else self.min_size,
        )


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
    tile_margin: Annotated[
        TileMargin,
        Param(
            "Zeros around the image at the scale of the networks. fixed: 8 pixels on each side, and more behind an "
            "image smaller than a tile. cellpose3: on each side 8 pixels and half of what is missing to a multiple of "
            "16, as in Cellpose 3.1; no more behind a small image where the server's networks take tiles of any size."
        ),
    ] = "fixed"
    stack_mode: Annotated[
        StackMode | None,
        Param(
            "What the planes of a stack make. volume: objects in three dimensions, from its xy, xz and yz planes. "
            "stitch: objects of neighbouring planes that overlap are one. planes: each plane is an image of its own.",
            unset="no choice: a stack is refused",
            flags=(
                "Find the objects of stacks in three dimensions, from xy, xz and yz planes.",
                "Segment each plane of a stack; objects of neighbouring planes that overlap are one.",
                "Segment each plane of a stack alone; the objects of all planes are numbered in one row.",
            ),
        ),
    ] = None
    anisotropy: Annotated[
        float | None,
        Param(
            "Distance of neighbouring planes of a stack, divided by the distance of neighbouring pixels.",
            0.05,
            50,
            unset="from the pixel size of the image; 1 if that is unknown",
        ),
    ] = None
    resample_stack: Annotated[
        bool,
        Param(
            "Volumes: resample the stack to cubic voxels at the scale of the networks, then cut sections (paper, "
            "Cellpose 3.1). Otherwise the sections are those of the stack.",
            option="--resample-stack",
        ),
    ] = False
    view_weight: Annotated[
        float,
        Param("Weight of the xz and yz sections of a volume beside its xy planes. The paper has 1.", 0, 10),
    ] = 0.5
    view_smoothing: Annotated[
        float,
        Param(
            "Standard deviation, as a fraction of the diameter, of the smoothing of each view of a volume across its "
            "sections. 0 smooths nothing.",
            0,
            1,
        ),
    ] = 0.1
    sum_views: Annotated[
        bool,
        Param(
            "Volumes: add the views, as Cellpose 3.1 does, instead of averaging them. Flows become twice as long and "
            "logits three times as large.",
            option="--sum-views",
        ),
    ] = False
    stitch_threshold: Annotated[
        float,
        Param(
            "Objects of neighbouring planes are one if their intersection over union is at least this.",
            0,
            1,
            above_low=True,
        ),
    ] = 0.25

    @classmethod
    def preset(cls, name: Preset, **values: Any) -> Self:
        """Returns the parameters of a preset.

        Args:
            name: One of PRESETS.
            values: Fields; they win over the preset. None stands for the default of the field.

        Raises:
            ParameterError: There is no such preset, or a value is out of range.
            TypeError: A value has a wrong type, or there is no such field.
        """
        return cls(**{**preset_values(name), **values})

    def __post_init__(self) -> None:
        if self.diameter == 0:
            object.__setattr__(self, "diameter", None)
        make_canonical(self)


PARAMETERS = parameters(SegmentParams)
"""All parameters by name: those of the whole image first, then those of mask recovery."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "cellpose3": {
        "normalization": Normalization("cellpose3"),
        "tile_overlap": 0.1,
        "tile_margin": "cellpose3",
        "resample_stack": True,
        "view_weight": 1.0,
        "view_smoothing": 0.0,
        "sum_views": True,
        "interpolation": "bilinear",
        "max_size_fraction": 0.4,
        "min_volume_fraction": 0.0,
        "fill_holes": True,
        "mask_rules": "cellpose3",  # decides thresholds, niter and min_size that are left open
    },
}
"""Values of parameters by preset. cellpose3: those with which results are nearest to those of Cellpose 3.1."""


def preset_values(name: str | None) -> Mapping[str, Any]:
    """Returns the values of a preset; none for None.

    Raises:
        ParameterError: There is no such preset.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise ParameterError("preset", repr(name), ", ".join(PRESETS))
    return PRESETS[name]
