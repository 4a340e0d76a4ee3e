"""The connection to one Triton, against a server that speaks Triton's protocol and says what a test tells it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import pytest
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.networks import TileOutputs
from cellserve_gateway.backends.triton import client as client_module
from cellserve_gateway.backends.triton import speed as speed_module
from cellserve_gateway.backends.triton.answers import ModelFailed
from cellserve_gateway.backends.triton.client import TritonClient
from cellserve_gateway.errors import BackendUnavailable, InternalError
from cellserve_gateway.ops.metrics import Metrics
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

NAME, SHA256 = "cells", "ab" * 32
TILE = np.zeros((1, 2, 224, 224), np.float32)


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A Triton as scripted.

    Attributes:
        failure: Status and message of each inference; None: the inference succeeds.
        shape: Shape of the maps in an answer.
        hold: Inferences wait for it.
        arrived: Set once an inference has arrived.
        tiles: Tiles computed.
        lacks: The model repository does not hold the model.
    """

    def __init__(self, sha256: str = SHA256) -> None:
        self.sha256, self.versions, self.shape = sha256, ["1"], [1, 3, 224, 224]
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.arrived = asyncio.Event()
        self.tiles = self.batches = 0
        self.lacks = False
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)

    async def start(self, port: int = 0) -> int:
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        await self.server.start()
        return self.port

    async def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelMetadata(self, request, context):
        if self.lacks:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{NAME}' is not found")
        return service_pb2.ModelMetadataResponse(name=NAME, versions=self.versions)

    async def ModelConfig(self, request, context):
        config = model_config_pb2.ModelConfig(name=NAME, max_batch_size=8)
        config.parameters["sha256"].string_value = self.sha256
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStatistics(self, request, context):
        answer = service_pb2.ModelStatisticsResponse()
        model = answer.model_stats.add(name=NAME, execution_count=self.batches)
        batch = model.batch_stats.add(batch_size=8)
        batch.compute_infer.count, batch.compute_infer.ns = self.batches, self.batches * 500_000_000
        return answer

    async def ModelInfer(self, request, context):
        if request.parameters["timeout"].int64_param == 1:  # only a wake
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Request timeout expired")
        self.arrived.set()
        await self.hold.wait()
        if self.failure:
            await context.abort(*self.failure)
        self.tiles += 1
        answer = service_pb2.ModelInferResponse(model_name=NAME, model_version="1")
        answer.outputs.add(name="flows", datatype="FP32", shape=self.shape)
        answer.raw_output_contents.append(np.zeros(self.shape, np.float32).tobytes())
        return answer


@pytest.fixture
async def triton() -> AsyncIterator[Triton]:
    made = Triton()
    await made.start()
    yield made
    await made.server.stop(0)


@pytest.fixture
async def connect(triton) -> AsyncIterator[Callable]:
    """Makes a client of `triton`, after one health probe."""
    made: list[TritonClient] = []

    async def connect() -> TritonClient:
        made.append(TritonClient(f"127.0.0.1:{triton.port}", {NAME: SHA256}, Metrics(), dict))
        await made[-1].probe()
        return made[-1]

    yield connect
    for client in made:
        await client.close()


async def infer(client: TritonClient, patience_s: float = 10) -> TileOutputs:
    context = RequestContext(deadline=asyncio.get_running_loop().time() + patience_s)
    return await client.infer(NAME, TILE, ("maps",), context)


async def test_an_answer(triton, connect):
    client = await connect()
    assert client.ready
    answer = await infer(client)
    assert (answer.maps.shape, answer.style, answer.network.sha256) == ((1, 3, 224, 224), None, SHA256)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "NOT_FOUND", "CANCELLED"])
async def test_a_server_that_leaves_is_not_ready(triton, connect, status):
    client = await connect()
    triton.failure = grpc.StatusCode[status], "'cells' has no available versions"
    with pytest.raises(BackendUnavailable) as caught:
        await infer(client)
    assert not client.ready
    assert not isinstance(caught.value, ModelFailed)
    assert "no available versions" in str(caught.value.__cause__)


@pytest.mark.parametrize("status", ["INTERNAL", "UNKNOWN"])
async def test_a_model_that_failed_is_out_until_it_computes(triton, connect, status):
    client = await connect()
    triton.failure = grpc.StatusCode[status], "Stub process is not healthy"
    with pytest.raises(ModelFailed):
        await infer(client)
    for _ in range(2):
        await client.probe()  # the server says that it is ready
        assert not client.ready
    assert "cells failed, [StatusCode." in client.state
    assert "is not healthy" in client.state
    triton.failure = None
    await client.probe()
    assert (client.ready, client.state) == (True, "ready")


async def test_a_refusal_is_the_gateway_s_fault_and_has_its_cause(triton, connect):
    client = await connect()
    triton.failure = grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'image'"
    with pytest.raises(InternalError) as caught:
        await infer(client)
    assert (caught.value.reason, caught.value.metadata["status"]) == ("TRITON_REFUSED", "INVALID_ARGUMENT")
    assert "unexpected shape" in str(caught.value.__cause__)
    assert client.ready, "other tiles may be in order"


@pytest.mark.parametrize("shape", [[1, 2, 224, 224], [2, 3, 224, 224], [1, 3, 112, 112]])
async def test_an_answer_of_another_shape_is_explained(triton, connect, shape):
    client = await connect()
    triton.shape = shape
    with pytest.raises(InternalError) as caught:
        await infer(client)
    assert caught.value.reason == "TRITON_BAD_ANSWER"
    assert caught.value.metadata == {
        "network": NAME,
        "output": "flows",
        "got": f"float32 {shape}",
        "expected": "float32 [1, 3, 224, 224]",
    }
    await client.probe()
    assert not client.ready
    triton.shape = [1, 3, 224, 224]
    await client.probe()
    assert client.ready


async def test_a_network_without_a_version_is_not_served(triton, connect):
    triton.versions = []
    client = await connect()
    assert not client.ready
    assert "no version of 'cells'" in client.state
    triton.versions = ["1"]
    await client.probe()
    assert client.ready


async def test_a_description_without_sense_is_no_end(triton, connect, monkeypatch):
    """Whatever the server says of itself, the next server is probed as well."""

    async def nonsense(self, name):
        raise KeyError("config")

    with monkeypatch.context() as patch:
        patch.setattr(TritonClient, "_read_network", nonsense)
        client = await connect()
        assert not client.ready
        assert "KeyError" in client.state
    await client.probe()
    assert client.ready


async def test_a_server_of_other_weights_on_the_same_address_gets_no_tile(triton, connect):
    """No health probe comes between: the connection alone tells that the server may be another."""
    client = await connect()
    await infer(client)
    await triton.server.stop(0)
    other = Triton(sha256="cd" * 32)
    assert await other.start(triton.port) == triton.port
    try:
        with pytest.raises(BackendUnavailable):
            await infer(client)
        assert other.tiles == 0
        await client.probe()
        assert not client.ready
        assert not client.networks
        assert "MODEL_MISMATCH" in client.state
    finally:
        await other.server.stop(0)


async def test_a_server_without_the_family_is_named(triton, connect):
    triton.lacks = True
    client = await connect()
    assert not client.ready
    assert f"does not serve the model {NAME}" in client.state
    assert "restart Triton with the repository of the gateway" in client.state
    triton.lacks = False
    await client.probe()
    assert (client.ready, client.state) == (True, "ready")


async def test_an_answer_over_a_new_connection_does_not_count(triton, connect):
    client = await connect()
    triton.hold.clear()
    tile = asyncio.create_task(infer(client))
    await triton.arrived.wait()
    client._connection.number += 1  # as when the connection has ended, and there is a new one
    triton.hold.set()
    with pytest.raises(BackendUnavailable, match="connection"):
        await tile


async def test_a_model_that_has_stopped_gives_its_tiles_back(triton, connect, monkeypatch):
    monkeypatch.setattr(speed_module, "STALLED_S", 0.05)
    monkeypatch.setattr(client_module, "PROBE_TIMEOUT_S", 0.1)
    client = await connect()
    triton.hold.clear()
    tile = asyncio.create_task(infer(client))
    await triton.arrived.wait()
    await client.probe()
    assert client.ready
    await asyncio.sleep(0.1)
    await client.probe()
    assert not client.ready
    client.give_up()
    with pytest.raises(BackendUnavailable):
        await tile
    await client.probe()
    assert not client.ready
    triton.hold.set()
    await asyncio.sleep(0.05)
    await client.probe()
    assert client.ready


async def test_the_speed_is_that_of_full_batches(triton, connect):
    client = await connect()
    await client.probe()
    assert client.tiles_per_s(NAME) is None
    triton.batches = 4
    await client.probe()
    assert client.tiles_per_s(NAME) == pytest.approx(8 / 0.5)


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_a_tile_is_freed_at_once(triton, connect, end):
    """Not when Python collects garbage: until then, thousands of calls fill the memory."""
    client = await connect()
    triton.hold.clear()
    triton.failure = grpc.StatusCode.INTERNAL, "Stub process is not healthy"
    tile = TILE.copy()
    freed = weakref.ref(tile)
    gc.disable()
    try:
        context = RequestContext(deadline=asyncio.get_running_loop().time() + 10)
        task = asyncio.create_task(client.infer(NAME, tile, ("maps",), context))
        del tile
        await triton.arrived.wait()
        if end == "cancelled":
            task.cancel()
        else:
            triton.hold.set()
        await asyncio.wait({task})
        assert task.cancelled() or isinstance(task.exception(), ModelFailed)
        del task
        await asyncio.sleep(0.05)
        assert freed() is None
    finally:
        gc.enable()
        triton.hold.set()
