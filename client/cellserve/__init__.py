"""Cellpose cell segmentation as a service: the client.

from cellserve import Client
client = Client("localhost:50051")
result = client.segment(image, diameter=30)
print(result.labels.max(), "objects")
for cell in result.objects: print(cell.label, cell.centroid, cell.area)
"""

from cellserve_formats import EncodedImage, Image, PixelSize

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
from .params import DiameterOptions, Normalization, ParameterError, SegmentOptions, SegmentParams
from .results import (
    DiameterEstimate,
    Limits,
    Model,
    ModelList,
    ModelVersion,
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
    "ResultWarning",
    "SegmentOptions",
    "SegmentParams",
    "Segmentation",
    "ServerError",
    "SkippedError",
    "Timing",
    "UnavailableError",
    "check_limits",
    "read_image",
]
