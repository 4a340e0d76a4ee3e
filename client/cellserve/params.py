"""What a call can ask for: the parameters of the contract, and options beside them.

A client call takes the fields of `SegmentParams` as keywords, a `SegmentParams`, or both (keywords win).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from cellserve_contract.fields import ParamFields
from cellserve_contract.params import Normalization, ParameterError, SegmentParams

__all__ = [
    "DIAMETER_SOURCES",
    "Compression",
    "DiameterOptions",
    "DiameterSource",
    "MapType",
    "Normalization",
    "Output",
    "ParameterError",
    "Priority",
    "SegmentOptions",
    "SegmentParams",
]

Output = Literal["outlines", "flows", "cell_probability", "style", "maps"]
Compression = Literal["auto", "none", "zlib"]
MapType = Literal["float32", "float16"]
Priority = Literal["acquisition", "batch"]
DiameterSource = Literal["caller", "training_diameter", "size_model", ""]
"""Where a diameter came from. "": from a source that this client does not know, because the server is newer."""
DIAMETER_SOURCES: Mapping[DiameterSource, str] = {
    "caller": "as given",
    "training_diameter": "mean of the objects that the model was trained on; the image was not measured",
    "size_model": "estimated from the image",
    "": "from a source that this client does not know",
}
"""Where a diameter came from, in words."""


class DiameterOptions(ParamFields, total=False):
    """Keywords of `estimate_diameter`: the fields of `SegmentParams`, and

    Attributes:
        axes: One letter per axis of an array, out of TCZYX and S. Left out: "YX" for two axes, "YXC" for a trailing
            axis of 3 or 4.
        series: Number of the image in a TIFF file that holds several, from 0. Left out: the only one.
        compression: "zlib" packs pixels both ways: for slow networks. "none" packs nothing. "auto" (default) sends
            plain pixels and lets the server pack large label images.
        priority: "acquisition" (a microscope waits for the answer) overtakes "batch", the default.
        work_budget_s: Seconds of work allowed, counted from the moment the work on the image starts. Default: none.
        deadline_s: Seconds until the call fails with DeadlineError. Default: the client's.
    """

    axes: str | None
    series: int | None
    compression: Compression
    priority: Priority
    work_budget_s: float | None
    deadline_s: float | None


class SegmentOptions(DiameterOptions, total=False):
    """Keywords of `segment`, `segment_many` and `segment_stream`: those of `DiameterOptions`, and

    Attributes:
        outputs: Optional parts of the result: "outlines", "flows", "cell_probability", "style", "maps". Default: none.
        omit_labels: True: the result has no label image. Default False.
        maps_only: True runs the networks only. The result has `maps`, but no labels and no objects.
            Default False.
        map_type: Type of flows, cell_probability and maps: "float32" (default) or "float16", which halves their bytes.
    """

    outputs: Collection[Output]
    omit_labels: bool
    maps_only: bool
    map_type: MapType
