"""Everything a caller may have to catch, as one tree.

CellServeError                                  what to do
├── InvalidRequestError (also a ValueError)     change the request: repeating it fails again
├── AuthenticationError (also a PermissionError) send a token or certificate that the server accepts
├── OverloadedError                             no room until the deadline, retries included: send less at a time
├── UnavailableError (also a ConnectionError)   no server answers, retries included: try later
├── DeadlineError (also a TimeoutError)         allow more time (`deadline_s`), or ask for less
├── SkippedError                                nothing: a newer frame took the place of this one
└── ServerError                                 report it, with the request id: the fault is the server's

Exceptions of `grpc` and of `cellserve_formats` are translated here and nowhere else. `docs/reference/errors.md`
lists the reasons. The client adds FILE_UNREADABLE, FILE_UNWRITABLE, MESSAGE_TOO_LARGE, FRAME_SKIPPED, ANSWER_INVALID
and CLIENT_FAILED.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

import grpc
from cellserve_contract.reasons import ErrorReason
from cellserve_formats import ImageError
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# What gRPC puts before the cause of a failed connection: its own status and the escaped address.
_OWN_WORDS = re.compile(r"^(UNKNOWN|UNAVAILABLE):\s*|ipv[46]:\S+:\s*")


class CellServeError(Exception):
    """A request failed.

    Attributes:
        message: One sentence for a person.
        code: gRPC status code; INVALID_ARGUMENT where the client itself refused.
        reason: Machine-readable word, "" where the failure did not come from CellServe (a proxy, the network).
        metadata: Facts of the reason, for programs.
        request_id: Finds the request in the server's log; "" where no request was made.
        retry_after_s: Seconds after which the server invites a retry, or None.
        attempts: How often the call was made.
    """

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        # All arguments go to the base class, so that errors survive pickling between processes.
        super().__init__(message, code, reason, metadata, request_id, retry_after_s)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.attempts = 1

    def __str__(self) -> str:
        request = f", request {self.request_id}" if self.request_id else ""
        attempts = f", {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.message} [{self.reason or self.code.name}{request}{attempts}]"


class InvalidRequestError(CellServeError, ValueError):
    """The image or a parameter is wrong, or the server does not offer what is asked."""


class AuthenticationError(CellServeError, PermissionError):
    """The server does not let this caller in: its token or certificate is missing or unknown."""


class OverloadedError(CellServeError):
    """The server has no room for the request now."""


class UnavailableError(CellServeError, ConnectionError):
    """No server could be reached, or none was ready."""


class DeadlineError(CellServeError, TimeoutError):
    """No answer within the deadline."""


class SkippedError(CellServeError):
    """A frame of a stream was not sent, because a newer frame came."""


class ServerError(CellServeError):
    """The server failed, or its answer makes no sense."""


_CLASSES: dict[grpc.StatusCode, type[CellServeError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: AuthenticationError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
}


def refusal(message: str, reason: str, **metadata: str) -> InvalidRequestError:
    """Makes the error of a request that the client itself refuses to send; `reason` is the name of an `ErrorReason`."""
    return InvalidRequestError(message, grpc.StatusCode.INVALID_ARGUMENT, ErrorReason[reason].name, metadata)


@contextlib.contextmanager
def one_image() -> Iterator[None]:
    """The boundary around the work on one image: an exception that nobody foresaw fails this image and no other.

    Raises:
        CellServeError: As raised inside; CLIENT_FAILED, with the exception as `__cause__`, for any other exception.
    """
    try:
        yield
    except CellServeError:
        raise
    except Exception as error:
        message = f"unforeseen {type(error).__name__}: {error}"
        raise CellServeError(message, grpc.StatusCode.INTERNAL, ErrorReason.CLIENT_FAILED.name) from error


def from_image_error(error: ImageError, source: object = None) -> InvalidRequestError:
    """Translates the error of an image or an image file.

    Args:
        error: What `cellserve_formats` raised.
        source: The file, for the message.

    Returns:
        The error of the tree above, to be raised from `error`.
    """
    message = error.message if source is None else f"{source}: {error.message}"
    metadata = {key: str(value) for key, value in error.metadata.items()}
    return InvalidRequestError(message, grpc.StatusCode.INVALID_ARGUMENT, error.reason, metadata)


def at_time_point(error: CellServeError, number: int) -> CellServeError:
    """Returns the error of one time point of a series, with the number of the time point in message and metadata."""
    facts = error.metadata | {"time_point": str(number)}
    message = f"time point {number}: {error.message}"
    named = type(error)(message, error.code, error.reason, facts, error.request_id, error.retry_after_s)
    named.attempts = error.attempts
    named.__cause__ = error.__cause__
    return named


def from_rpc_error(error: grpc.RpcError, *, address: str, deadline_s: float | None, request_id: str) -> CellServeError:
    """Translates a failed call.

    Args:
        error: What `grpc` or `grpc.aio` raised.
        address: The servers asked, for the message of connection failures.
        deadline_s: The deadline the call had, for the message.
        request_id: The id the request had.

    Returns:
        The error of the tree above, to be raised from `error`.
    """
    code, message = error.code(), error.details() or ""
    info, retry_after_s = _details(error.trailing_metadata() or ())
    kind, reason = _CLASSES.get(code, ServerError), info.reason
    if not reason:  # gRPC itself, or a proxy: its own words say little to a caller
        if code is grpc.StatusCode.UNAVAILABLE:
            cause = _OWN_WORDS.sub("", message.rpartition("last error: ")[2])
            message = f"no server answers at {address} ({cause}): is it running?"
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED and deadline_s is not None:
            message = f"no answer within the deadline of {deadline_s:g} s"
        elif code is grpc.StatusCode.INTERNAL and message == "Internal error from Core":
            # grpc.aio puts this in place of the server's status when a stream ends while a message is being written.
            kind, message = UnavailableError, f"the stream from {address} ended while a message was being sent"
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
            kind, reason = InvalidRequestError, "MESSAGE_TOO_LARGE"
    return kind(message, code, reason, dict(info.metadata), request_id, retry_after_s)


def is_unknown_call(error: CellServeError) -> bool:
    """Tells whether the server does not know the call: it is older than the call."""
    return error.code is grpc.StatusCode.UNIMPLEMENTED


def skipped_frame() -> SkippedError:
    """Returns the outcome of a frame that a newer one replaced."""
    message = "a newer frame came before this frame was sent"
    return SkippedError(message, grpc.StatusCode.CANCELLED, ErrorReason.FRAME_SKIPPED.name)


def invalid_answer(message: str, request_id: str) -> ServerError:
    """Returns the error for an answer that breaks the contract."""
    return ServerError(
        f"the server's answer makes no sense: {message}", grpc.StatusCode.INTERNAL, "ANSWER_INVALID", None, request_id
    )


def _details(
    trailing_metadata: Iterable[tuple[str, str | bytes]],
) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """Returns the ErrorInfo (empty where there is none) and the seconds of RetryInfo out of grpc-status-details-bin."""
    status = status_pb2.Status()
    for key, value in trailing_metadata:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
                return _read_status(status)
            except DecodeError:  # a proxy's own bytes: the status code still tells enough
                break
    return error_details_pb2.ErrorInfo(), None


def _read_status(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """Returns the ErrorInfo and the seconds of the RetryInfo of a status."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return info, retry_after_s
