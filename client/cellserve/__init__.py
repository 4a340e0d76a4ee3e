"""Cellpose cell segmentation as a service: the client.

from cellserve import Client
client = Client("localhost:50051")
result = client.segment(image, diameter=30)
print(result.labels.max(), "objects")
for cell in result.objects: print(cell.label, cell.centroid, cell.area)
"""

from cellserve_formats import EncodedImage, Image, PixelSize
from cellserve_formats.cell_probability import (
    draw_cell_probability,
    write_cell_probability_png,
    write_cell_probability_tiff,
)
from cellserve_formats.flows import draw_flows, write_flows_png, write_flows_tiff
from cellserve_formats.geojson import write_geojson
from cellserve_formats.label_numbers import scale_for_numbers
from cellserve_formats.labels_png import write_labels_png
from cellserve_formats.labels_tiff import write_labels_tiff
from cellserve_formats.overlay import draw_overlay, write_overlay
from cellserve_formats.table_csv import write_table_csv

from .aio import AsyncClient
from .client import Client
from .errors import (
    AuthenticationError,
    CellServeError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ServerError,
    SkippedError,
    UnavailableError,
)
from .files import read_image
from .images import ImageLike
from .limits import check_limits
from .models import Model, ModelList, ModelVersion
from .networks import TileSums
from .params import DiameterOptions, Normalization, ParameterError, SegmentOptions, SegmentParams
from .progress import Progress
from .results import (
    DiameterEstimate,
    Limits,
    Object,
    ResultWarning,
    Segmentation,
    Timing,
)

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "CellServeError",
    "Client",
    "DeadlineError",
    "DiameterEstimate",
    "DiameterOptions",
    "EncodedImage",
    "Image",
    "ImageLike",
    "InvalidRequestError",
    "Limits",
    "Model",
    "ModelList",
    "ModelVersion",
    "Normalization",
    "Object",
    "OverloadedError",
    "ParameterError",
    "PixelSize",
    "Progress",
    "ResultWarning",
    "SegmentOptions",
    "SegmentParams",
    "Segmentation",
    "ServerError",
    "SkippedError",
    "TileSums",
    "Timing",
    "UnavailableError",
    "check_limits",
    "draw_cell_probability",
    "draw_flows",
    "draw_overlay",
    "read_image",
    "scale_for_numbers",
    "write_cell_probability_png",
    "write_cell_probability_tiff",
    "write_flows_png",
    "write_flows_tiff",
    "write_geojson",
    "write_labels_png",
    "write_labels_tiff",
    "write_overlay",
    "write_table_csv",
]
