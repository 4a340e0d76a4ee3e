"""Statuses become errors of the tree, with everything the server told."""

from __future__ import annotations

import pickle

import cellserve
import grpc
import pytest
from cellserve import Client

from .scripted_server import Service, failure

S = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind", "builtin"),
    [
        (S.INVALID_ARGUMENT, cellserve.InvalidRequestError, ValueError),
        (S.NOT_FOUND, cellserve.InvalidRequestError, ValueError),
        (S.OUT_OF_RANGE, cellserve.InvalidRequestError, ValueError),
        (S.UNIMPLEMENTED, cellserve.InvalidRequestError, ValueError),
        (S.UNAUTHENTICATED, cellserve.AuthenticationError, PermissionError),
        (S.PERMISSION_DENIED, cellserve.AuthenticationError, PermissionError),
        (S.RESOURCE_EXHAUSTED, cellserve.OverloadedError, cellserve.CellServeError),
        (S.DEADLINE_EXCEEDED, cellserve.DeadlineError, TimeoutError),
        (S.INTERNAL, cellserve.ServerError, cellserve.CellServeError),
        (S.UNKNOWN, cellserve.ServerError, cellserve.CellServeError),
        (S.DATA_LOSS, cellserve.ServerError, cellserve.CellServeError),
    ],
)
def test_status_codes(serve, image, code, kind, builtin):
    service = Service(failure(code, "it is so", "SOME_REASON", limit="3", got="4"))
    with Client(serve(service)) as client, pytest.raises(kind) as caught:
        client.segment(image, request_id="r-1")
    error = caught.value
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert (error.code, error.message, error.reason) == (code, "it is so", "SOME_REASON")
    assert (error.metadata, error.request_id) == ({"limit": "3", "got": "4"}, "r-1")
    assert str(error) == "it is so [SOME_REASON, request r-1]"
    assert len(service.requests) == 1, "nobody invites a retry"


def test_retry_info(serve, image):
    service = Service(failure(S.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=1.25))
    with Client(serve(service)) as client, pytest.raises(cellserve.OverloadedError) as caught:
        client.segment(image, deadline_s=1)
    assert caught.value.retry_after_s == 1.25


def test_status_without_details(serve, image):
    service = Service(failure(S.RESOURCE_EXHAUSTED, "rate limit"))
    with Client(serve(service)) as client, pytest.raises(cellserve.OverloadedError) as caught:
        client.segment(image, request_id="r-2")
    assert (caught.value.reason, caught.value.retry_after_s, caught.value.metadata) == ("", None, {})
    assert str(caught.value) == "rate limit [RESOURCE_EXHAUSTED, request r-2]"


def test_damaged_details(serve, image):
    class Proxy(Service):
        def Segment(self, request, context):
            context.set_trailing_metadata([("grpc-status-details-bin", b"\xff\xff not a status")])
            context.abort(S.INTERNAL, "proxy")

    with Client(serve(Proxy())) as client, pytest.raises(cellserve.ServerError, match="proxy"):
        client.segment(image)


def test_no_server_names_the_address(image):
    with Client("127.0.0.1:1", deadline_s=0.5) as client, pytest.raises(cellserve.CellServeError) as caught:
        client.segment(image)
    # Whether the deadline or the last retry ends it is a matter of milliseconds; both are told.
    assert isinstance(caught.value, cellserve.UnavailableError | cellserve.DeadlineError)
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(cellserve.UnavailableError, match=r"at 127\.0\.0\.1:1 \(") as caught,
    ):
        client.models()
    assert isinstance(caught.value, ConnectionError)


def test_too_large_for_the_server_is_not_overload(serve):
    class Small(Service):
        def GetModel(self, request, context):
            context.abort(S.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 4)")

    with Client(serve(Small())) as client, pytest.raises(cellserve.InvalidRequestError) as caught:
        client.model("generalist")
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


def test_errors_survive_pickling():
    error = cellserve.OverloadedError("full", S.RESOURCE_EXHAUSTED, "GATEWAY_FULL", {"limit": "3"}, "r-3", 2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cellserve.OverloadedError
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_closed_client(serve, image):
    client = Client(serve(Service()))
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.segment(image)
