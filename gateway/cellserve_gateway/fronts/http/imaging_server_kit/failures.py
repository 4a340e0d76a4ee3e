"""Errors as the kit's clients show them: the text of the answer, behind words of their own."""

from __future__ import annotations

import json

from starlette.responses import Response

from cellserve_gateway.errors import InvalidRequest, ServiceError
from cellserve_gateway.fronts.http.problems import headers_of, status_of

_TOKEN_IN_URL = "put the token into the address of the server, as http://NAME:TOKEN@HOST:PORT/imaging-server-kit"


def failure(error: ServiceError, request_id: str = "", root_path: str = "") -> Response:
    """Returns the answer to a request that failed.

    Clients call a request wrong for 422 alone, and read that answer as JSON.

    Args:
        error: The failure.
        request_id: Id of the request; "" if the request got none.
        root_path: Not used: a text links nowhere.
    """
    text = f"{error.message} ({error.reason})"
    if error.reason == "TOKEN_MISSING":
        text = f"the call carries no token: {_TOKEN_IN_URL} ({error.reason})"
    status = 422 if type(error) is InvalidRequest else status_of(error)
    headers = headers_of(error, request_id, status)
    if status == 422:
        return Response(json.dumps(text), status, headers, "application/json")
    return Response(text, status, headers, "text/plain")
