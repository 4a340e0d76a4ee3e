"""Images of any size: the result that one request would have given, in bounded memory."""

from cellserve.connection import Connection
from cellserve.engines import Progress

from .engine import segment_image
from .errors import DiskFullError, FolderBusyError, ForeignFolderError, LargeError, OtherNetworkError, OtherRunError
from .execution import workers
from .gateways import Gateways
from .geometry import Box, Grid
from .networks import Networks
from .recovery import Recovery, recover
from .segmentation import segment
from .sources import ArrayMaps, MapSource

__all__ = [
    "ArrayMaps",
    "Box",
    "Connection",
    "DiskFullError",
    "FolderBusyError",
    "ForeignFolderError",
    "Gateways",
    "Grid",
    "LargeError",
    "MapSource",
    "Networks",
    "OtherNetworkError",
    "OtherRunError",
    "Progress",
    "Recovery",
    "recover",
    "segment",
    "segment_image",
    "workers",
]
