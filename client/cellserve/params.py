"""What decides the outcome of a segmentation, and what else a call can ask for.

A client call takes the fields of `SegmentParams` as keywords, a `SegmentParams`, or both (keywords win). The keyword
lists below exist once, as typed dictionaries that every method unpacks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypedDict

Interpolation = Literal["bilinear", "nearest"]
MaskRules = Literal["paper", "cellpose3"]
Output = Literal["outlines", "flows", "cell_probability", "style"]
Compression = Literal["none", "zlib"]
Priority = Literal["acquisition", "batch"]
DiameterSource = Literal["caller", "family_mean", "size_model"]


@dataclass(frozen=True, slots=True)
class Normalization:
    """How intensities become the network's input.

    Attributes:
        rule: "percentiles": two percentiles of each whole channel become 0 and 1. "range": the same two intensities
            for every channel become 0 and 1. "off": intensities go to the network as they are.
        low: Percentile (0 to 100; 1 if left out) or intensity that becomes 0; none with "off".
        high: Percentile (99 if left out) or intensity that becomes 1, above `low`; none with "off".
        invert: True for dark objects on a bright ground.

    Raises:
        ValueError: "range" without its two intensities, or "off" with any.
    """

    rule: Literal["percentiles", "range", "off"] = "percentiles"
    low: float | None = None
    high: float | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        if self.rule == "percentiles":
            object.__setattr__(self, "low", 1.0 if self.low is None else self.low)
            object.__setattr__(self, "high", 99.0 if self.high is None else self.high)
        elif self.rule == "range":
            if self.low is None or self.high is None:
                raise ValueError("Normalization('range') needs low and high: the intensities that become 0 and 1")
        elif self.rule == "off":
            if self.low is not None or self.high is not None:
                raise ValueError("Normalization('off') takes neither low nor high")
        else:
            raise ValueError(f"normalization rule is {self.rule!r}; allowed: percentiles, range, off")


@dataclass(frozen=True, slots=True)
class SegmentParams:
    """Everything that decides the outcome for a given image; None takes the server's default.

    The server checks the ranges. Every result carries the parameters as used, complete: sending them again repeats
    the result.

    Attributes:
        model: Model family.
        ensemble: True (default): mean of four networks. False: one network, about four times faster, less accurate.
        diameter: Median diameter of the objects, pixels. None or 0: the server estimates it from the image if the model
            can, else takes the size the model works at; `Segmentation.diameter_source` tells which.
        cytoplasm_channel: Plane that shows cells, zero-based; -1 is the mean of all. Default: plane 0 of one or two,
            the mean of three.
        nucleus_channel: Plane that shows nuclei, zero-based; -1 is none. Default: plane 1 of two planes, else none.
        normalization: Intensities; "off" is short for Normalization("off"). Default: percentiles 1 and 99.
        tile_overlap: Overlap of neighbouring tiles, 0 to 0.5 of a tile; default 0.1.
        augment: True: average over flipped tiles, about three times the cost; default False.
        cellprob_threshold: Pixels above this logit belong to cells, -20 to 20; default 0.
        flow_threshold: Objects with a larger flow error are dropped, 0 to 100; default 0.4; 0 keeps all.
        niter: Steps that pixels follow the flows, 1 to 10000; default 200.
        interpolation: How flows between pixels are read; default "bilinear".
        min_size: Objects of fewer pixels are dropped; default 15.
        max_size_fraction: Objects larger than this share of the image are dropped; default 0.4.
        fill_holes: True (default): holes in objects are filled.
        exclude_on_edges: True: objects that touch the border of the image are dropped; default False.
        mask_rules: "cellpose3" recovers the masks that Cellpose 3.1 does, where it departs from its paper; default
            "paper".
    """

    model: str | None = None
    ensemble: bool | None = None
    diameter: float | None = None
    cytoplasm_channel: int | None = None
    nucleus_channel: int | None = None
    normalization: Normalization | Literal["off"] | None = None
    tile_overlap: float | None = None
    augment: bool | None = None
    cellprob_threshold: float | None = None
    flow_threshold: float | None = None
    niter: int | None = None
    interpolation: Interpolation | None = None
    min_size: int | None = None
    max_size_fraction: float | None = None
    fill_holes: bool | None = None
    exclude_on_edges: bool | None = None
    mask_rules: MaskRules | None = None


class ParamFields(TypedDict, total=False):
    """The fields of `SegmentParams` as keywords; see there."""

    model: str | None
    ensemble: bool | None
    diameter: float | None
    cytoplasm_channel: int | None
    nucleus_channel: int | None
    normalization: Normalization | Literal["off"] | None
    tile_overlap: float | None
    augment: bool | None
    cellprob_threshold: float | None
    flow_threshold: float | None
    niter: int | None
    interpolation: Interpolation | None
    min_size: int | None
    max_size_fraction: float | None
    fill_holes: bool | None
    exclude_on_edges: bool | None
    mask_rules: MaskRules | None


class DiameterOptions(ParamFields, total=False):
    """Keywords of `estimate_diameter`: the fields of `SegmentParams`, and

    Attributes:
        axes: One letter per axis of an array: "YX", "CYX" or "YXC". Left out: "YX" for two axes, "YXC" for a
            trailing axis of 3 or 4.
        compression: "zlib" packs pixels, both ways: for slow networks. Default "none".
        deadline_s: Seconds until the call fails with DeadlineError. Default: the client's.
    """

    axes: str | None
    compression: Compression
    deadline_s: float | None


class SegmentOptions(DiameterOptions, total=False):
    """Keywords of `segment`, `segment_many` and `segment_stream`: those of `DiameterOptions`, and

    Attributes:
        outputs: Optional parts of the result: "outlines", "flows", "cell_probability", "style". Default: none.
        priority: "acquisition" (a microscope waits for the answer) overtakes "batch", the default.
    """

    outputs: Collection[Output]
    priority: Priority
