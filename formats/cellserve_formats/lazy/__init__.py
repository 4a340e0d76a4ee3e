"""Images of any size, read region by region: Zarr stores, TIFF files, slides, and arrays.

The libraries for Zarr, Dask and slides are those of the extra `large`. The files are those of the user and are read in
the user's own process, without the bounds that a server sets against the files of strangers.
"""

from .image import LazyImage, Region
from .opening import open_image

__all__ = ["LazyImage", "Region", "open_image"]
