"""Images and answers over the message limit: both clients send and receive them in chunks, without being asked."""

from __future__ import annotations

import asyncio

import cellserve.large
import grpc
import numpy as np
import pytest
from cellserve import AsyncClient, retry
from cellserve_proto import v1 as pb

from .scripted_server import Service, failure

GONE = failure(grpc.StatusCode.UNAVAILABLE, "leaving", "DRAINING")
FULL = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=0.02)
TOO_LARGE = failure(grpc.StatusCode.INVALID_ARGUMENT, "too large", "ANSWER_TOO_LARGE")


@pytest.fixture
def small_limit(monkeypatch):
    """Requests above 10,000 bytes are large; chunks have 4,000."""
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 10_000)
    monkeypatch.setattr("cellserve_contract.chunks.CHUNK_BYTES", 5_000)


@pytest.fixture
def large(small_limit, image):
    return np.tile(image, (3, 3))


def assert_same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.objects == other.objects
    assert (one.params, one.model, one.diameter_source) == (other.params, other.model, other.diameter_source)


async def test_the_same_result_in_chunks(either, service, image, large, monkeypatch):
    outputs = ["outlines", "flows", "cell_probability", "style"]
    ours = await either.segment(large, diameter=25, outputs=outputs)
    assert isinstance(service.requests[-1], pb.SegmentLargeHeader)
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 10_000_000)
    plain = await either.segment(large, diameter=25, outputs=outputs)
    assert isinstance(service.requests[-1], pb.SegmentRequest)
    assert len(ours.objects) == 27
    assert_same(ours, plain)
    for name in ("flows", "cell_probability", "style"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))
    np.testing.assert_array_equal(ours.objects[-1].outline, plain.objects[-1].outline)


async def test_packed_in_both_directions(either, large):
    assert_same(await either.segment(large, compression="zlib"), await either.segment(large))


async def test_an_answer_over_the_limit_is_fetched_in_chunks(either, service, image):
    service.failures.append(TOO_LARGE)
    result = await either.segment(image, request_id="r-9")
    assert [type(request) for request in service.requests] == [pb.SegmentRequest, pb.SegmentLargeHeader]
    assert (len(result.objects), result.request_id) == (3, "r-9")


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, False),
        ({"outputs": ["outlines", "style"]}, False),
        ({"outputs": ["flows", "cell_probability"]}, True),
        ({"outputs": ["flows"], "map_type": "float16"}, False),
        ({"outputs": ["flows"], "compression": "zlib"}, False),
        ({"maps_only": True}, True),
    ],
)
def test_large_answers_are_foreseen(client, service, image, monkeypatch, options, chunks):
    """96 x 128 px of 16 bits have 24,576 bytes, a map of them 49,152."""
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 60_000)
    client.segment(image, **options)
    assert [type(request) for request in service.requests] == [pb.SegmentLargeHeader if chunks else pb.SegmentRequest]


async def test_the_diameter_of_a_large_image(either, service, large):
    assert (await either.estimate_diameter(large)).diameter == 30.1
    assert service.requests[-1].WhichOneof("work") == "estimate_diameter"


@pytest.mark.parametrize("failures", [1, 4])
async def test_a_broken_upload_starts_again_by_itself(either, service, large, failures, monkeypatch):
    monkeypatch.setattr(retry, "MOST_BACKOFF_S", 0.02)
    service.upload_failures.extend([GONE] * failures)
    assert len((await either.segment(large)).objects) == 27
    assert not service.upload_failures


async def test_a_full_gateway_is_waited_for(either, service, large):
    service.header_failures.extend([FULL] * 6)
    assert len((await either.segment(large)).objects) == 27
    assert not service.header_failures


async def test_a_broken_upload_is_not_repeated_for_ever(either, service, large):
    service.upload_failures.extend([GONE] * 30)
    with pytest.raises(cellserve.UnavailableError, match=r"leaving|ended while"):
        await either.segment(large, deadline_s=2)
    assert service.upload_failures


def test_other_failures_are_not_repeated(client, service, large):
    service.upload_failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "no", "IMAGE_UNDECODABLE"))
    with pytest.raises(cellserve.InvalidRequestError) as error:
        client.segment(large)
    assert error.value.reason == "IMAGE_UNDECODABLE"
    assert not service.requests


async def test_a_damaged_answer_is_no_result(either, service, large):
    service.damage = 1
    with pytest.raises(cellserve.ServerError, match="checksum") as error:
        await either.segment(large)
    assert error.value.reason == "ANSWER_INVALID"


async def test_many_images_of_both_kinds(either, image, large):
    found = {key: result async for key, result in either.segment_many({"small": image[:60], "large": large}.items())}
    assert {key: result.labels.shape for key, result in found.items()} == {"small": (60, 128), "large": large.shape}


async def test_frames_of_both_kinds(either, service, image, large):
    """A large frame, and a frame whose answer is large, leave the stream and are answered all the same."""
    service.failures.append(TOO_LARGE)
    frames = [("first", image[:50]), ("large", large), ("second", image[:60])]
    found = {key: result async for key, result in either.segment_stream(frames, concurrency=3)}
    assert {key: result.labels.shape for key, result in found.items()} == {
        "first": (50, 128),
        "large": large.shape,
        "second": (60, 128),
    }


async def test_giving_up_cancels_the_call(serve, large):
    service = Service(delay_s=20)
    address = serve(service)
    async with AsyncClient(address) as client:
        attempt = asyncio.create_task(client.segment(large))
        await asyncio.sleep(0.3)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await asyncio.to_thread(service.cancelled.wait, 5)
        assert service.cancelled.is_set()
