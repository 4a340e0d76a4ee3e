"""From an image to the tiles the networks run on: channels, normalisation, rescaling, tiling."""

from .channels import default_channels, select_channels
from .errors import ParameterError
from .normalize import Normalization, normalize
from .rescale import rescaled_shape, resize
from .tile import MARGIN, TILE, TileGrid

__all__ = [
    "MARGIN",
    "TILE",
    "Normalization",
    "ParameterError",
    "TileGrid",
    "default_channels",
    "normalize",
    "rescaled_shape",
    "resize",
    "select_channels",
]
