"""Messages for the tests: arrays in, arrays and reasons out."""

from __future__ import annotations

import grpc
import numpy as np
from cellserve_proto.v1 import segmentation_pb2 as pb
from google.rpc import error_details_pb2, status_pb2

DATA_TYPES = {
    "uint8": pb.DATA_TYPE_UINT8,
    "uint16": pb.DATA_TYPE_UINT16,
    "uint32": pb.DATA_TYPE_UINT32,
    "float32": pb.DATA_TYPE_FLOAT32,
    "float64": pb.DATA_TYPE_FLOAT64,
}
FAST = {"ensemble": False, "diameter": 30}  # one network, no estimate
DTYPES = {number: name for name, number in DATA_TYPES.items()}


def raw(pixels: np.ndarray, axes: str | None = None) -> pb.Image:
    """Returns the message of an image."""
    array = pb.Array(data_type=DATA_TYPES[str(pixels.dtype)], shape=pixels.shape, data=pixels.tobytes())
    return pb.Image(raw=pb.RawImage(pixels=array, axes=axes or ("YX" if pixels.ndim == 2 else "YXC")))


def labels_of(response: pb.SegmentResponse) -> np.ndarray:
    """Returns the label image of an answer sent without compression."""
    return array_of(response.labels)


def array_of(array: pb.Array) -> np.ndarray:
    """Returns an array sent without compression."""
    return np.frombuffer(array.data, DTYPES[array.data_type]).reshape(array.shape)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Returns the ErrorInfo of a failed call."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "cellserve"
    return info
