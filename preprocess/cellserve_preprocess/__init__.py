"""From an image to the tiles the networks run on: channels, normalisation, rescaling, tiling."""

from cellserve_contract.channels import MEAN, default_channels
from cellserve_contract.params import Normalization, ParameterError

from .channels import select_channels
from .normalize import Normalized, normalize
from .rescale import rescaled_shape, resize, resize_region, source_region
from .tile import MARGIN, TILE, Region, TileGrid

__all__ = [
    "MARGIN",
    "MEAN",
    "TILE",
    "Normalization",
    "Normalized",
    "ParameterError",
    "Region",
    "TileGrid",
    "default_channels",
    "normalize",
    "rescaled_shape",
    "resize",
    "resize_region",
    "select_channels",
    "source_region",
]
