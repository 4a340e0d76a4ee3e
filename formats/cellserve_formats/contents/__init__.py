"""What image files and stores contain, told before pixels are read: positions, time points, channels.

Each kind of file has a module. Stores, plates and slides need the libraries of the extra `large` once pixels are read.
Files of microscopes need bioio and one of its plug-ins.
"""

from .image_file import ImageFile, Position
from .microscope import PLUGINS
from .opening import open_images
from .zarr_node import is_store

__all__ = ["PLUGINS", "ImageFile", "Position", "is_store", "open_images"]
