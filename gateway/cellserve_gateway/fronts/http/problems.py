"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from starlette.responses import Response

from cellserve_gateway.errors import AnswerTooLarge, Code, DeadlinePassed, ImageTooLarge, InvalidRequest, ServiceError

MEDIA_TYPE = "application/problem+json"
STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.INTERNAL: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class LengthRequired(InvalidRequest):
    """The header of a request does not declare the length of the body."""


class NotAcceptable(InvalidRequest):
    """No representation of the answer fits the caller's Accept."""


class BodyStalled(DeadlinePassed):
    """The caller stopped sending the body of a request."""


_OWN_STATUSES: dict[type[ServiceError], int] = {
    LengthRequired: 411,
    NotAcceptable: 406,
    BodyStalled: 408,
    ImageTooLarge: 413,
    AnswerTooLarge: 413,
}


def status_of(error: ServiceError) -> int:
    """Returns the HTTP status of an error."""
    return _OWN_STATUSES.get(type(error)) or STATUSES[error.code]


def problem(error: ServiceError, request_id: str = "", root_path: str = "", status: int | None = None) -> Response:
    """Returns the answer to a request that failed.

    Args:
        error: The failure.
        request_id: Id of the request; "" if the request got none.
        root_path: Path prefix under which callers see the gateway; the type of the problem is a relative URI below it.
        status: HTTP status. Default is the status of the error.
    """
    status = status or status_of(error)
    content = json.dumps(content_of(error, request_id, root_path, status))
    return Response(content, status, headers_of(error, request_id, status), MEDIA_TYPE)


def headers_of(error: ServiceError, request_id: str, status: int) -> dict[str, str]:
    """Returns the headers of the answer to a request that failed; arguments as of `problem`."""
    headers = {}
    if request_id:
        headers["X-Request-Id"] = request_id
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def content_of(error: ServiceError, request_id: str, root_path: str, status: int | None = None) -> dict[str, object]:
    """Returns the members of a problem; arguments as of `problem`."""
    status = status or status_of(error)
    content: dict[str, object] = {
        "type": f"{root_path}/docs#{error.reason}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": error.code.name,
        "reason": error.reason,
        "metadata": error.metadata,
    }
    if request_id:
        content["request_id"] = request_id
    if error.retry_after_s is not None:
        content["retry_after_s"] = error.retry_after_s
    return content
