"""Everything that can go wrong, as one tree.

ServiceError                 code                 reason
├── InvalidImage             INVALID_ARGUMENT     IMAGE_EMPTY, IMAGE_SIZE_MISMATCH, IMAGE_UNDECODABLE, AXES_UNKNOWN,
│                                                 DATA_TYPE_UNSUPPORTED, PIXELS_NOT_FINITE
├── ImageTooLarge            INVALID_ARGUMENT     IMAGE_TOO_LARGE
├── InvalidRequest           INVALID_ARGUMENT     PARAMETER_OUT_OF_RANGE, FIELD_INVALID, FRAME_ID_IN_USE,
│                                                 MESSAGE_MALFORMED
├── Unauthenticated          UNAUTHENTICATED      TOKEN_MISSING, TOKEN_UNKNOWN
├── ModelUnknown             NOT_FOUND            MODEL_UNKNOWN
├── Overloaded               RESOURCE_EXHAUSTED   GATEWAY_FULL, TRITON_QUEUE_FULL          (with RetryInfo)
├── Draining                 UNAVAILABLE          DRAINING                                 (with RetryInfo)
├── TritonUnavailable        UNAVAILABLE          TRITON_UNAVAILABLE                       (with RetryInfo)
├── DeadlinePassed           DEADLINE_EXCEEDED    DEADLINE_EXCEEDED
├── NotImplementedYet        UNIMPLEMENTED        NOT_IMPLEMENTED
└── InternalError            INTERNAL             INTERNAL, MODEL_MISMATCH, TRITON_REFUSED, TRITON_BAD_ANSWER

The boundaries translate: `triton.py` the inference server's exceptions, `codec.py` and `decode.py` bad input,
`observe.py` whatever is left (to INTERNAL, showing nothing of the inside). docs/errors.md explains each reason.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

DOMAIN = "cellserve"


class ServiceError(Exception):
    """A failure with a gRPC status code, a machine-readable reason and the facts behind it.

    Args:
        message: One sentence for a person: what is wrong, the limit, what to do.
        reason: UPPER_SNAKE_CASE word of the table above; the class's own where it has just one.
        retry_after_s: Seconds after which a retry makes sense; None where it does not.
        **metadata: Facts for programs, sent as strings.
    """

    code: StatusCode = StatusCode.INTERNAL
    reason: str = "INTERNAL"
    retry_after_s: float | None = None

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: float | None = None, **metadata: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.retry_after_s = retry_after_s if retry_after_s is not None else self.retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def to_status(self) -> status_pb2.Status:
        """Returns the google.rpc.Status with ErrorInfo and, where a retry makes sense, RetryInfo."""
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        ]
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromMilliseconds(round(self.retry_after_s * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in details:
            status.details.add().Pack(detail)
        return status


class InvalidImage(ServiceError):
    code = StatusCode.INVALID_ARGUMENT


class ImageTooLarge(ServiceError):
    code = StatusCode.INVALID_ARGUMENT
    reason = "IMAGE_TOO_LARGE"


class InvalidRequest(ServiceError):
    code = StatusCode.INVALID_ARGUMENT
    reason = "FIELD_INVALID"


class Unauthenticated(ServiceError):
    code = StatusCode.UNAUTHENTICATED


class ModelUnknown(ServiceError):
    code = StatusCode.NOT_FOUND
    reason = "MODEL_UNKNOWN"


class Overloaded(ServiceError):
    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "GATEWAY_FULL"
    retry_after_s = 1.0


class Draining(ServiceError):
    code = StatusCode.UNAVAILABLE
    reason = "DRAINING"
    retry_after_s = 0.5


class TritonUnavailable(ServiceError):
    code = StatusCode.UNAVAILABLE
    reason = "TRITON_UNAVAILABLE"
    retry_after_s = 1.0


class DeadlinePassed(ServiceError):
    code = StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class NotImplementedYet(ServiceError):
    code = StatusCode.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"


class InternalError(ServiceError):
    pass
