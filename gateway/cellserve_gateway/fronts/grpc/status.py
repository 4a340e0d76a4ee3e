"""Our errors as gRPC status, with google.rpc details."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cellserve_gateway.errors import ServiceError

DOMAIN = "cellserve"


def to_status(error: ServiceError) -> status_pb2.Status:
    """Returns the google.rpc.Status with ErrorInfo and, where a retry makes sense, RetryInfo."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value, message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    return status
