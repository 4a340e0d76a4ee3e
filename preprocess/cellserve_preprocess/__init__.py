"""From an image to the tiles the networks run on: channels, normalisation, rescaling, tiling."""

from cellserve_contract.channels import MEAN, default_channels
from cellserve_contract.params import Normalization, ParameterError

from .channels import select_channels
from .normalize import Normalized, normalize
from .rescale import rescaled_shape, resize
from .tile import MARGIN, TILE, TileGrid

__all__ = [
    "MARGIN",
    "MEAN",
    "TILE",
    "Normalization",
    "Normalized",
    "ParameterError",
    "TileGrid",
    "default_channels",
    "normalize",
    "rescaled_shape",
    "resize",
    "select_channels",
]
