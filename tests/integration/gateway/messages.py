"""Messages for the tests: arrays in, arrays and reasons out."""

from __future__ import annotations

import grpc
import numpy as np
from cellserve_contract.arrays import fill_array, view_array
from cellserve_proto import v1 as pb
from google.rpc import error_details_pb2, status_pb2

FAST = {"ensemble": False, "diameter": 30}  # one network, no estimate


def raw(pixels: np.ndarray, axes: str | None = None) -> pb.Image:
    """Returns the message of an image."""
    image = pb.Image()
    image.raw.axes = axes or ("YX" if pixels.ndim == 2 else "YXC")
    fill_array(image.raw.pixels, pixels)
    return image


def labels_of(response: pb.SegmentResponse) -> np.ndarray:
    """Returns the label image of an answer."""
    return view_array(response.labels)


def array_of(array: pb.Array) -> np.ndarray:
    """Returns an array of an answer."""
    return view_array(array)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Returns the ErrorInfo of a failed call."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "cellserve"
    return info


def info_of(answer: pb.SegmentStreamResponse) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of a failed frame."""
    info = error_details_pb2.ErrorInfo()
    assert answer.error.details[0].Unpack(info)
    return info
