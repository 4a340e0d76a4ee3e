"""Images of any size: the result that one request would have given, in bounded memory."""

from .errors import DiskFullError, LargeError, OtherRunError
from .execution import workers
from .geometry import Box, Grid
from .recovery import Progress, Recovery, recover
from .sources import ArrayMaps, MapSource

__all__ = [
    "ArrayMaps",
    "Box",
    "DiskFullError",
    "Grid",
    "LargeError",
    "MapSource",
    "OtherRunError",
    "Progress",
    "Recovery",
    "recover",
    "workers",
]
