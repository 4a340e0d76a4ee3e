"""SegmentStream: frames in, answers as they finish, one bad frame hurts nobody."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from .conftest import UNLIMITED
from .messages import FAST, info_of, raw


@pytest.fixture
async def aio_stub(slow_gateway):
    """Calls a gateway whose tiles take their time, so that frames are still under way when others come."""
    async with grpc.aio.insecure_channel(slow_gateway.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


def frame(name: str, pixels: np.ndarray, **params: object) -> pb.SegmentStreamRequest:
    return pb.SegmentStreamRequest(frame_id=name, request={"image": raw(pixels), "params": FAST | params})


async def test_frames_are_answered_by_id(aio_stub, image):
    whole = image("nuclei_fluorescence")
    frames = {f"frame-{i}": np.ascontiguousarray(whole[: 100 + 10 * i, :120]) for i in range(20)}
    requests = [frame(name, pixels) for name, pixels in frames.items()]
    requests.insert(3, frame("bad", np.full((4, 4), np.nan, np.float32)))
    requests.insert(9, frame("unknown", frames["frame-0"], model="x"))
    answers = {answer.frame_id: answer async for answer in aio_stub.SegmentStream(iter(requests))}
    assert set(answers) == {*frames, "bad", "unknown"}
    assert [answers[request.frame_id].frame_number for request in requests] == list(range(len(requests)))
    for name, pixels in frames.items():
        assert tuple(answers[name].response.labels.shape) == pixels.shape
        assert answers[name].response.request_id == name
    assert info_of(answers["bad"]).reason == "PIXELS_NOT_FINITE"
    assert answers["bad"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert info_of(answers["unknown"]).reason == "MODEL_UNKNOWN"
    assert "generalist" in info_of(answers["unknown"]).metadata["available"]


async def test_a_small_frame_overtakes_a_large_one(aio_stub, image):
    large = np.tile(image("nuclei_fluorescence"), (2, 1))
    order = []
    async for answer in aio_stub.SegmentStream(iter([frame("large", large), frame("small", large[:100, :100].copy())])):
        order.append(answer.frame_id)
    assert order == ["small", "large"]


async def test_an_id_in_use_is_refused(aio_stub, image, slow_gateway, scrape):
    pixels = np.tile(image("nuclei_fluorescence"), (2, 1))
    requests = [frame("same", pixels), frame("same", pixels[:50, :50].copy())]
    answers = [answer async for answer in aio_stub.SegmentStream(iter(requests))]
    assert sorted(answer.WhichOneof("outcome") for answer in answers) == ["error", "response"]
    (failed,) = [answer for answer in answers if answer.WhichOneof("outcome") == "error"]
    assert info_of(failed).reason == "FRAME_ID_IN_USE"
    assert (failed.frame_id, failed.frame_number) == ("same", 1), "the number tells which of the two"
    errors = scrape(slow_gateway)
    assert errors['cellserve_errors_total{method="SegmentStream",reason="FRAME_ID_IN_USE"}'] == 1


async def test_an_empty_stream_ends(aio_stub):
    assert [answer async for answer in aio_stub.SegmentStream(iter(()))] == []


async def test_a_cancelled_stream_frees_everything(aio_stub, image, slow_gateway, in_flight):
    pixels = image("nuclei_fluorescence")
    call = aio_stub.SegmentStream(iter([frame(str(i), pixels) for i in range(20)]))
    await call.read()
    call.cancel()
    for _ in range(100):
        if in_flight(slow_gateway) == {"requests": 0, "pixels": 0, "bytes": 0}:
            break
        await asyncio.sleep(0.1)
    assert in_flight(slow_gateway) == {"requests": 0, "pixels": 0, "bytes": 0}
