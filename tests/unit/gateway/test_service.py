"""The gRPC service: where a diameter comes from, and on which threads pixels are copied."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import pytest
from cellserve.networks import networks_request
from cellserve_contract.chunks import Assembly, cut
from cellserve_contract.payload import NO_PAYLOAD, Detached, Payload
from cellserve_gateway.app import diameter as diameter_module
from cellserve_gateway.app import pipeline as pipeline_module
from cellserve_gateway.app import tile_sums
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.errors import NotImplementedYet
from cellserve_gateway.fronts.grpc import answers, codec, large
from cellserve_gateway.fronts.grpc.call import Call
from cellserve_gateway.fronts.grpc.receiver import Received
from cellserve_gateway.fronts.grpc.service import SERVICE, SegmentationService
from cellserve_gateway.settings import Settings
from cellserve_postprocess import MapSums
from cellserve_preprocess import TileGrid
from cellserve_proto import v1 as pb

from .perfect import Setup, disks, setup

METHOD = SERVICE.methods_by_name["SegmentLarge"]


@pytest.mark.parametrize(
    ("predicted", "stated", "expected"),
    [
        (60.0, 0.0, (40, pb.DIAMETER_SOURCE_SIZE_MODEL, "cells_single")),
        (60.0, 17.0, (17, pb.DIAMETER_SOURCE_CALLER, "cells")),
        (None, 0.0, (22.5, pb.DIAMETER_SOURCE_TRAINING_DIAMETER, "cells")),
    ],
)
async def test_the_service_says_where_a_diameter_comes_from(predicted, stated, expected):
    pixels = disks(40)[0]
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())
    image = pb.Image(raw=pb.RawImage(pixels=array, axes="YX"))
    params = pb.SegmentParams(model="cells", diameter=stated)
    diameter, source, network = expected
    with setup(predicted) as made:
        service = SegmentationService(Settings(), made.segmenter, made.admission)
        request = Received(
            pb.EstimateDiameterRequest(image=image, params=params), NO_PAYLOAD, made.admission.reservation()
        )
        estimate = await service.EstimateDiameter(request, made.context)
        assert estimate.diameter == pytest.approx(diameter, rel=0.05)
        assert (estimate.source, estimate.model.name, estimate.request_id) == (source, network, "r")
        computed = pb.PRECISION_BFLOAT16 if source == pb.DIAMETER_SOURCE_SIZE_MODEL else pb.PRECISION_UNSPECIFIED
        assert estimate.model.precision == computed, "no network runs for a diameter that is not measured"
        unmeasured = [pb.WARNING_KIND_DIAMETER_NOT_MEASURED] if source == pb.DIAMETER_SOURCE_TRAINING_DIAMETER else []
        assert [warning.kind for warning in estimate.warnings] == unmeasured
        made.triton.calls.clear()
        context = RequestContext("r", deadline=made.context.deadline)
        again = Received(pb.SegmentRequest(image=image, params=params), NO_PAYLOAD, made.admission.reservation())
        answer = await service.Segment(again, context)
        assert (answer.params.diameter, answer.diameter_source) == (estimate.diameter, source)
        assert answer.model.name == "cells", "the estimate's network is not the answer's"
        assert answer.model.precision == pb.PRECISION_BFLOAT16
        assert answer.timing.tiles == len(made.triton.calls), "the estimate's tiles count"


class Chunks:
    """What the door hands to `SegmentLarge`: the header of a call, then the image in chunks."""

    def __init__(self, message: pb.SegmentRequest, data: bytes, made: Setup) -> None:
        self._made = made
        header = pb.SegmentLargeHeader(segment=message, image_bytes=len(data))
        chunks = [(pb.SegmentLargeRequest(chunk=chunk), piece) for chunk, piece in cut(data)]
        self._parts = iter([(pb.SegmentLargeRequest(header=header), NO_PAYLOAD.data), *chunks])

    async def receive(self) -> Received:
        message, piece = next(self._parts)
        return Received(message, Payload("chunk.data", piece), self._made.admission.reservation())

    @contextlib.asynccontextmanager
    async def upload(self, *_):
        yield


def observe(monkeypatch, functions: dict[Any, tuple[str, ...]]) -> dict[str, set[str]]:
    """Notes the threads that functions run on, by the name of the function."""
    threads: dict[str, set[str]] = {}

    def observed(name, function):
        def call(*args, **kwargs):
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return function(*args, **kwargs)

        return call

    for module, names in functions.items():
        for name in names:
            monkeypatch.setattr(module, name, observed(f"{module.__name__}.{name}", getattr(module, name)))
    return threads


def check_observed(threads: dict[str, set[str]], functions: int) -> None:
    assert len(threads) == functions, "each was called"
    kinds = {name.partition("-")[0] for names in threads.values() for name in names}
    assert kinds <= {"decoding", "images"}


@pytest.mark.parametrize("chunks", [False, True])
async def test_our_code_copies_no_pixels_on_the_event_loop(monkeypatch, chunks):
    """Everything that copies pixels or computes on pixels runs on worker threads; from the payload to the answer."""
    packing = {Assembly: ("add",), large: ("describe_array",), Detached: ("serialize",)} if chunks else {}
    functions = {
        codec: ("to_image",),
        answers: () if chunks else ("fill_response",),
        pipeline_module: ("select_channels", "normalize", "resize", "recover_masks", "measure_objects"),
        MapSums: ("__init__", "add", "maps"),
        diameter_module: ("resize", "recover_masks"),
        TileGrid: ("cut",),
        **packing,
    }
    threads = observe(monkeypatch, functions)
    pixels = disks(40)[0]
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=pixels.shape)
    message = pb.SegmentRequest(image=pb.Image(raw=pb.RawImage(pixels=array, axes="YX")), params={"model": "cells"})
    with setup(60.0) as made:
        service = SegmentationService(Settings(), made.segmenter, made.admission)
        if chunks:
            call = Call(METHOD, {}, made.context.deadline, None, Settings(), made.workers)
            requests = Chunks(message, pixels.tobytes(), made)
            parts = [
                pb.SegmentLargeResponse.FromString(part.data) async for part in service.SegmentLarge(requests, call)
            ]
            kinds = [part.WhichOneof("part") for part in parts]
            assert kinds[:2] + kinds[-3:] == ["upload", "work", "result", "objects", "chunk"]
            found = parts[-2].objects.objects
        else:
            payload = Payload("image.raw.pixels.data", memoryview(pixels.tobytes()))
            received = Received(message, payload, made.admission.reservation())
            found = (await service.Segment(received, made.context)).objects
    assert len(found) > 0
    check_observed(threads, 15 if chunks else 13)


async def test_nor_does_it_copy_planes_there(monkeypatch):
    functions = {
        codec: ("to_planes",),
        answers: ("sums_response",),
        tile_sums: ("_filled_up", "tile_weights"),
        MapSums: ("add",),
        TileGrid: ("cut",),
    }
    threads = observe(monkeypatch, functions)
    planes = np.ones((2, 1, 50, 60), np.float32)
    sent = networks_request(planes, TileGrid.cover((50, 60)), "", True, "batch", "r")
    with setup(None) as made:
        service = SegmentationService(Settings(), made.segmenter, made.admission)
        received = Received(sent.message, Payload("planes.data", sent.data), made.admission.reservation())
        answer = await service.RunNetworks(received, made.context)
    assert list(answer.message.sums.shape) == [2, 3, 50, 60]
    check_observed(threads, 6)


async def test_nothing_that_a_newer_caller_asks_for_is_ignored():
    """A field of a later contract, in any call that takes an image."""
    newer = b"\xc2\x3e\x04news"  # field 1000
    pixels = disks(40)[0]
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())
    image, params = pb.Image(raw=pb.RawImage(pixels=array, axes="YX")), pb.SegmentParams.FromString(newer)
    with setup(60.0) as made:
        service = SegmentationService(Settings(), made.segmenter, made.admission)
        for method, kind in (("Segment", pb.SegmentRequest), ("EstimateDiameter", pb.EstimateDiameterRequest)):
            request = Received(kind(image=image, params=params), NO_PAYLOAD, made.admission.reservation())
            with pytest.raises(NotImplementedYet, match="field 1000 of SegmentParams"):
                await getattr(service, method)(request, made.context)
        grid = pb.TileGrid.FromString(newer)
        request = Received(pb.RunNetworksRequest(grid=grid), NO_PAYLOAD, made.admission.reservation())
        with pytest.raises(NotImplementedYet, match="field 1000 of TileGrid"):
            await service.RunNetworks(request, made.context)
        call = Call(METHOD, {}, made.context.deadline, None, Settings(), made.workers)
        chunks = Chunks(pb.SegmentRequest(image=image, params=params), pixels.tobytes(), made)
        with pytest.raises(NotImplementedYet, match="field 1000 of SegmentParams"):
            await anext(service.SegmentLarge(chunks, call))
