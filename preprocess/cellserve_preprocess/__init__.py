"""From an image to the tiles the networks run on: channels, normalisation, rescaling, tiling."""

from cellserve_contract.channels import MEAN, default_channels
from cellserve_contract.params import Normalization, ParameterError
from cellserve_contract.tiles import MARGIN, TILE

from .channels import select_channels
from .normalize import Normalized, normalize
from .rescale import neighbours, rescaled_shape, resize, resize_region, source_region
from .sections import SECTION_AXES, Sections, plan_sections
from .tile import Region, TileGrid

__all__ = [
    "MARGIN",
    "MEAN",
    "SECTION_AXES",
    "TILE",
    "Normalization",
    "Normalized",
    "ParameterError",
    "Region",
    "Sections",
    "TileGrid",
    "default_channels",
    "neighbours",
    "normalize",
    "plan_sections",
    "rescaled_shape",
    "resize",
    "resize_region",
    "select_channels",
    "source_region",
]
