"""Parameters of mask recovery."""

from dataclasses import dataclass
from typing import Literal

from cellserve_preprocess import ParameterError


@dataclass(frozen=True, slots=True)
class RecoveryParams:
    """Everything that decides which masks are recovered from given network outputs.

    Attributes:
        cellprob_threshold: pixels above this logit belong to cells, -20 to 20.
        flow_threshold: objects of a greater flow error are dropped, 0 to 100; 0 keeps all.
        niter: steps of one pixel that pixels follow the flows, 1 to 10000.
        interpolation: how flows between pixels are read.
        min_size: objects of fewer pixels are dropped, 0 to 1000000.
        max_size_fraction: objects larger than this share of the image are dropped, above 0, at most 1.
        fill_holes: holes in objects are filled.
        exclude_on_edges: objects that touch the border of the image are dropped.
        mask_rules: where Cellpose 3.1 departs from the paper. "paper": a region grows until it is complete, so that
            regions that touch are one object, and the heat of the flow error comes from the pixel closest to the
            median of the object's pixels. "cellpose3": a region grows five times, regions that touch stay apart, and
            the heat comes from the pixel closest to the mean.

    Raises:
        ParameterError: on construction, when a value is out of range.
    """

    cellprob_threshold: float = 0.0
    flow_threshold: float = 0.4
    niter: int = 200
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    min_size: int = 15
    max_size_fraction: float = 0.4
    fill_holes: bool = True
    exclude_on_edges: bool = False
    mask_rules: Literal["paper", "cellpose3"] = "paper"

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, float, float], ...] = (
            ("cellprob_threshold", -20, 20),
            ("flow_threshold", 0, 100),
            ("niter", 1, 10_000),
            ("min_size", 0, 1_000_000),
        )
        for name, low, high in ranges:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ParameterError(name, value, f"{low} to {high}")
        if not 0 < self.max_size_fraction <= 1:
            raise ParameterError("max_size_fraction", self.max_size_fraction, "above 0, at most 1")
        if self.interpolation not in ("bilinear", "nearest"):
            raise ParameterError("interpolation", self.interpolation, "bilinear or nearest")
        if self.mask_rules not in ("paper", "cellpose3"):
            raise ParameterError("mask_rules", self.mask_rules, "paper or cellpose3")
