"""The parameters of a request: one frozen object, validated on construction, echoed in every answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from cellserve_postprocess import RecoveryParams
from cellserve_preprocess import Normalization, ParameterError, default_channels

from .families import Family


class DiameterSource(Enum):
    """Where the diameter of an answer came from."""

    CALLER = "caller"
    WORKING_DIAMETER = "working_diameter"
    SIZE_MODEL = "size_model"


@dataclass(frozen=True, slots=True)
class SegmentParams:
    """Everything that decides the result for a given image.

    Attributes:
        model: Family.
        ensemble: Mean of the family's networks, or network 0 alone.
        diameter: Median object diameter in pixels; None until resolved, or estimated.
        cytoplasm_channel: Plane of the cells, -1 the mean of all; None until resolved.
        nucleus_channel: Plane of the nuclei, -1 none; None until resolved.
        normalization: Intensities to network input.
        tile_overlap: Fraction of a tile, 0 to 0.5.
        augment: Flipped tiles at 50 % overlap, averaged.
        recovery: Mask recovery.

    Raises:
        ParameterError: A value is outside its range.
    """

    model: str
    ensemble: bool = True
    diameter: float | None = None
    cytoplasm_channel: int | None = None
    nucleus_channel: int | None = None
    normalization: Normalization = field(default_factory=Normalization)
    tile_overlap: float = 0.1
    augment: bool = False
    recovery: RecoveryParams = field(default_factory=RecoveryParams)

    def __post_init__(self) -> None:
        if self.diameter is not None and not 1.0 <= self.diameter <= 10_000.0:
            raise ParameterError("diameter", self.diameter, "1 to 10000 pixels, or 0 to have it chosen")
        if not 0.0 <= self.tile_overlap <= 0.5:
            raise ParameterError("tile_overlap", self.tile_overlap, "0 to 0.5")

    def resolved(self, planes: int, family: Family) -> tuple[SegmentParams, DiameterSource]:
        """Fills in what depends on the image and the family.

        Args:
            planes: Number of planes of the image.
            family: The family that `model` names.

        Returns:
            Parameters, all resolved, and the source of the diameter. If the source is the size model, the diameter is
            still None: `DiameterEstimator` estimates it from the image.

        Raises:
            ParameterError: A channel does not exist, or must be named.
        """
        cytoplasm, nucleus = self.cytoplasm_channel, self.nucleus_channel
        if cytoplasm is None or nucleus is None:
            default_cytoplasm, default_nucleus = default_channels(planes) if cytoplasm is None else (cytoplasm, -1)
            if "nucleus" not in family.channels:
                default_nucleus = -1
            cytoplasm = default_cytoplasm if cytoplasm is None else cytoplasm
            nucleus = default_nucleus if nucleus is None else nucleus
        for name, channel in (("cytoplasm_channel", cytoplasm), ("nucleus_channel", nucleus)):
            if not -1 <= channel < planes:
                raise ParameterError(name, channel, f"-1 to {planes - 1} for an image of {planes} planes")
        if nucleus >= 0 and "nucleus" not in family.channels:
            raise ParameterError("nucleus_channel", nucleus, f"-1, since '{family.name}' was trained without nuclei")
        channels = replace(self, cytoplasm_channel=cytoplasm, nucleus_channel=nucleus)
        if self.diameter is not None:
            return channels, DiameterSource.CALLER
        if family.size_model is not None:
            return channels, DiameterSource.SIZE_MODEL
        return replace(channels, diameter=family.diam_mean), DiameterSource.WORKING_DIAMETER
