"""The client of today calls servers that have the contract of a release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import cellserve
import cellserve.large
import grpc
import numpy as np
import pytest
from cellserve import check_limits
from cellserve_preprocess import TileGrid
from cellserve_proto.v1 import segmentation_pb2
from google.protobuf.message_factory import GetMessageClass

from tests.released import RELEASES, Contract

from .scripted_server import Service, failure

SERVICE = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"]


def handlers(service: Service, contract: Contract) -> grpc.GenericRpcHandler:
    """Returns the handlers of a server that has the messages and the calls of a release, and no others."""

    def received(kind: type[Any], data: bytes) -> bytes:
        assert known(kind, data) == kind.FromString(data).SerializeToString(), "a field that the release does not know"
        return data

    def known(kind: type[Any], data: bytes) -> bytes:
        message = kind.FromString(data)
        message.DiscardUnknownFields()
        return bytes(message.SerializeToString())

    made = {}
    for name, method in contract.methods.items():
        ours = GetMessageClass(SERVICE.methods_by_name[name].input_type)
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        make = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        made[name] = make(
            getattr(service, name),
            lambda data, ours=ours, request=request: ours.FromString(received(request, data)),
            lambda message, answer=answer: known(answer, message.SerializeToString()),
        )
    return grpc.method_handlers_generic_handler(SERVICE.full_name, made)


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
def contract(request) -> Contract:
    return Contract(request.param)


@pytest.fixture
def serve(contract) -> Iterator[Callable[[Service], str]]:
    """Starts servers of a release: `serve(service)` returns the address."""
    servers: list[grpc.Server] = []

    def start(service: Service) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((handlers(service, contract),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


async def test_images(either, image, monkeypatch):
    options = {"diameter": 30, "outputs": ["outlines", "flows"], "priority": "acquisition", "work_budget_s": 60}
    one = await either.segment(image, **options)
    assert (one.labels.shape, len(one.objects), one.flows.shape) == (image.shape, 3, (2, *image.shape))
    assert (one.params.diameter, one.diameter_source, one.server_version) == (30, "caller", "9.9")
    found = {key: len(result.objects) async for key, result in either.segment_many([(1, image), (2, image)])}
    assert found == {1: 3, 2: 3}
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 10_000)
    np.testing.assert_array_equal((await either.segment(image, **options)).labels, one.labels)


async def test_other_calls(either, image):
    assert (await either.estimate_diameter(image)).diameter == 30.1
    assert [model.name for model in await either.models()] == ["generalist"]
    assert (await either.model("generalist")).tile_size == 224


async def test_networks(either):
    grid = TileGrid.cover((30, 40))
    result = await either.run_networks(np.ones((1, 2, 30, 40), np.float32), grid, priority="acquisition")
    assert (result.sums.shape, result.sums.max(), result.server_version) == ((1, 3, 30, 40), 3 << 20, "9.9")


async def test_limits_are_unknown_if_the_release_does_not_tell_them(either, contract, image):
    limits = await either.limits()
    assert (limits is None) is ("GetLimits" not in contract.methods)
    check_limits(cellserve.Image(image, "YX"), limits)


async def test_an_older_server_says_what_it_does_not_offer(either, image, service):
    service.failures.append(failure(grpc.StatusCode.UNIMPLEMENTED, "no volumes", "NOT_IMPLEMENTED", feature="volumes"))
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        await either.segment(image)
    assert (caught.value.reason, caught.value.metadata) == ("NOT_IMPLEMENTED", {"feature": "volumes"})
