"""Callers with the contract of a release call the gateway of today."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.fronts.grpc.front import GrpcFront
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings

from tests.released import RELEASES, Contract

from .perfect import disks, setup

PIXELS = disks(30)[0]
LARGE = np.zeros((200, 200), np.uint8)
SETTINGS = {"max_image_pixels": PIXELS.size}


@dataclass
class Caller:
    """A caller that has the stubs of a release."""

    contract: Contract
    channel: grpc.aio.Channel

    def new(self, message: str, **fields: Any) -> Any:
        return self.contract.message(message)(**fields)

    def call(self, name: str) -> Any:
        return self.contract.call(self.channel, name)

    def image(self, pixels: np.ndarray = PIXELS, data: bytes | None = None) -> Any:
        array = {
            "data_type": self.contract.number("DataType", "DATA_TYPE_UINT8"),
            "shape": pixels.shape,
            "data": pixels.tobytes() if data is None else data,
        }
        return {"raw": {"pixels": array, "axes": "YX"}}

    def request(self, image: Any, name: str = "SegmentRequest", **fields: Any) -> Any:
        return self.new(name, image=image, params={"model": "cells", "diameter": 30}, **fields)

    def error_info(self, status: bytes) -> Any:
        """Reads google.rpc.Status as the caller's own messages do."""
        details = self.contract.message("Status", "google.rpc").FromString(status).details
        info = self.contract.message("ErrorInfo", "google.rpc")()
        assert any(detail.Unpack(info) for detail in details)
        return info


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
async def caller(request) -> AsyncIterator[Caller]:
    settings = Settings(**SETTINGS)
    with setup(None, **SETTINGS) as made:
        instruments = Instruments(made.metrics, Tracing(None))
        front = GrpcFront(settings, made.segmenter, made.admission, instruments, Tokens(None), None, made.workers)
        port, _ = await front.start("127.0.0.1:0", "127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Caller(Contract(request.param), channel)
        await front.stop(0)
        await front.health.stop()


def check(answer: Any, labels: bytes | None = None) -> None:
    """Checks the objects of the drawn image."""
    array = answer.labels
    data = array.data if labels is None else labels
    image = np.frombuffer(zlib.decompress(data) if array.compression == 2 else data, "<u2").reshape(array.shape)
    assert len(answer.objects) == image.max() > 3
    assert np.mean((image > 0) == (PIXELS > 100)) > 0.99
    for found in answer.objects:
        assert found.area == np.count_nonzero(image == found.label)
        assert found.equivalent_diameter_area == pytest.approx(30, rel=0.1)
        assert image[round(found.centroid.y), round(found.centroid.x)] == found.label
    assert (answer.params.model, answer.params.diameter, answer.model.family) == ("cells", 30, "cells")


async def test_segment(caller):
    outputs = [
        caller.contract.number("Output", f"OUTPUT_{name}") for name in ("OUTLINES", "FLOWS", "CELL_PROBABILITY", "MAPS")
    ]
    answer = await caller.call("Segment")(caller.request(caller.image(), request_id="r-1", outputs=outputs))
    check(answer)
    assert (answer.request_id, answer.axes, bool(answer.server_version)) == ("r-1", "YX", True)
    assert tuple(answer.flows.shape) == (2, *PIXELS.shape)
    assert tuple(answer.maps.shape) == (3, *PIXELS.shape)
    assert all(found.outlines[0].points for found in answer.objects)
    assert answer.timing.tiles > 0


async def test_stream(caller):
    frames = [
        caller.new("SegmentStreamRequest", frame_id=name, request=caller.request(image))
        for name, image in (("good", caller.image()), ("bad", caller.image(data=b"short")))
    ]
    answers = {answer.frame_id: answer async for answer in caller.call("SegmentStream")(iter(frames))}
    check(answers["good"].response)
    assert answers["good"].frame_number == 0
    error = answers["bad"].error
    assert caller.error_info(error.SerializeToString()).reason == "IMAGE_SIZE_MISMATCH"


@pytest.mark.parametrize("work", ["segment", "estimate_diameter"])
async def test_large(caller, work):
    data, size = PIXELS.tobytes(), 10_000
    name = "SegmentRequest" if work == "segment" else "EstimateDiameterRequest"
    header = {work: caller.request(caller.image(data=b""), name), "image_bytes": len(data), "idempotency_key": "k"}
    chunks = [
        {"offset": offset, "data": data[offset : offset + size], "crc32": zlib.crc32(data[offset : offset + size])}
        for offset in range(0, len(data), size)
    ]
    parts = [caller.new("SegmentLargeRequest", header=header)]
    parts += [caller.new("SegmentLargeRequest", chunk=chunk) for chunk in chunks]
    received = [part async for part in caller.call("SegmentLarge")(iter(parts))]
    first, answer, *rest = [part for part in received if part.WhichOneof("part") != "work"]
    assert first.upload.received_bytes == 0
    if work == "estimate_diameter":
        assert answer.diameter.diameter == 30
        return
    objects = [found for part in rest for found in part.objects.objects]
    answer.result.objects.extend(objects)
    check(answer.result, b"".join(part.chunk.chunk.data for part in rest))


async def test_diameter(caller):
    answer = await caller.call("EstimateDiameter")(caller.request(caller.image(), "EstimateDiameterRequest"))
    assert answer.diameter == 30
    assert answer.source == caller.contract.number("DiameterSource", "DIAMETER_SOURCE_CALLER")


async def test_networks(caller):
    tiles = {"first": 0, "end": 1}
    grid = {"height": 50, "width": 60, "starts_y": [-8], "starts_x": [-8], "rows": tiles, "columns": tiles}
    bright = np.ones((2, 1, 50, 60), np.float32)
    number = caller.contract.number("DataType", "DATA_TYPE_FLOAT32")
    array = {"data_type": number, "shape": bright.shape, "data": bright.tobytes()}
    request = caller.new("RunNetworksRequest", request_id="r-2", grid=grid, planes=array)
    answer = await caller.call("RunNetworks")(request)
    assert (answer.request_id, answer.model.name, bool(answer.server_version)) == ("r-2", "cells", True)
    assert answer.sums.data_type == caller.contract.number("DataType", "DATA_TYPE_INT32")
    sums = np.frombuffer(answer.sums.data, "<i4").reshape(answer.sums.shape)
    assert sums.shape == (2, 3, 50, 60)
    np.testing.assert_allclose(sums[:, 2] / 2**20, 5, rtol=1e-5)  # logit of what is bright


async def test_models(caller):
    listed = await caller.call("ListModels")(caller.new("ListModelsRequest"))
    assert (listed.default_model, [model.name for model in listed.models]) == ("cells", ["cells"])
    answer = await caller.call("GetModel")(caller.new("GetModelRequest", name="cells"))
    assert answer.model == listed.models[0]
    assert (answer.model.ready, answer.model.working_diameter, answer.model.tile_size) == (True, 30, 224)
    assert list(answer.model.channels) == ["cytoplasm", "nucleus"]


@pytest.mark.parametrize(
    ("name", "code", "reason", "metadata"),
    [
        ("no model", "NOT_FOUND", "MODEL_UNKNOWN", {"available": "cells"}),
        ("no image", "INVALID_ARGUMENT", "IMAGE_EMPTY", {}),
        ("parameter", "INVALID_ARGUMENT", "PARAMETER_OUT_OF_RANGE", {"parameter": "diameter"}),
        ("large", "INVALID_ARGUMENT", "IMAGE_TOO_LARGE", {"resource": "pixels", "value": "40000"}),
    ],
)
async def test_errors(caller, name, code, reason, metadata):
    method, request = {
        "no model": ("GetModel", caller.new("GetModelRequest", name="nobody")),
        "no image": ("Segment", caller.new("SegmentRequest")),
        "parameter": ("Segment", caller.new("SegmentRequest", params={"diameter": 0.5})),
        "large": ("EstimateDiameter", caller.request(caller.image(LARGE), "EstimateDiameterRequest")),
    }[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.call(method)(request)
    info = caller.error_info(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    assert (caught.value.code().name, info.reason, info.domain) == (code, reason, "cellserve")
    assert dict(info.metadata).items() >= metadata.items()
    assert caller.contract.number("ErrorReason", f"ERROR_REASON_{reason}"), "the release explains it"
