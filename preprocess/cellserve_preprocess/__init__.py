"""From an image to the tiles the networks run on: channels, normalisation, rescaling, tiling."""

from .channels import default_channels, select_channels
from .crew import Crew, Stop, StoppedError, bands
from .errors import ParameterError
from .normalize import Normalization, normalize
from .rescale import rescaled_shape, resize
from .tile import MARGIN, TILE, TileGrid

__all__ = [
    "MARGIN",
    "TILE",
    "Crew",
    "Normalization",
    "ParameterError",
    "Stop",
    "StoppedError",
    "TileGrid",
    "bands",
    "default_channels",
    "normalize",
    "rescaled_shape",
    "resize",
    "select_channels",
]
