"""Frames of an acquisition: none lost, none twice, whatever happens to servers; the newest alone on request."""

from __future__ import annotations

import asyncio
import threading
import time

import cellserve
import grpc
import numpy as np
import pytest
from cellserve import AsyncClient, Client, Segmentation, SkippedError

from .scripted_server import failure


async def collect(results) -> list:
    return [entry async for entry in results]


async def test_stream(either, service, image):
    service.failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "empty", "IMAGE_EMPTY", axis="Y"))
    frames = [("a", image), ("b", np.zeros((5, 6, 7))), ("c", image[:50]), ("d", image)]
    results = dict(await collect(either.segment_stream(frames, concurrency=1, diameter=20)))
    assert results.keys() == {"a", "b", "c", "d"}
    assert isinstance(results["a"], cellserve.InvalidRequestError)
    assert (results["a"].reason, results["a"].message) == ("IMAGE_EMPTY", "empty")
    assert results["a"].metadata == {"axis": "Y"}
    assert results["a"].request_id == service.requests[0].request_id
    assert isinstance(results["b"], cellserve.InvalidRequestError)
    assert results["c"].labels.shape == (50, 128)
    assert len(results["d"].objects) == 3
    assert results["d"].params.diameter == 20


async def test_results_come_while_the_next_frame_is_awaited(either, image):
    taken = threading.Event()

    def camera():
        yield 0, image
        assert taken.wait(20), "the first result came only after the second frame"
        yield 1, image

    seen = []
    async for key, result in either.segment_stream(camera()):
        assert isinstance(result, Segmentation)
        seen.append(key)
        taken.set()
    assert seen == [0, 1]


async def test_stream_bounds_what_is_unanswered(either, service, image):
    service.delay_s = 0.02
    read = []

    def frames():
        for n in range(20):
            read.append(n)
            yield n, image

    seen = 0
    async for _ in either.segment_stream(frames(), concurrency=3):
        seen += 1
        assert len(read) <= seen + 4  # three unanswered, and one read while waiting for a place
    assert seen == 20
    assert service.most_running == 3


async def test_ending_a_stream_early(either, service, image):
    frames = ((n, image) for n in range(1000))
    results = either.segment_stream(frames, concurrency=4)
    async for _ in results:
        break
    service.delay_s = 20
    begin = time.monotonic()
    await results.aclose()
    assert time.monotonic() - begin < 5
    assert len(service.requests) < 20
    service.delay_s = 0
    assert len((await either.segment(image)).objects) == 3


async def test_an_empty_stream_ends(either):
    assert await collect(either.segment_stream([])) == []


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_no_frame_is_lost_or_repeated_when_the_only_server_dies(spawn, image, kind):
    process, address = spawn()

    def replace() -> None:
        time.sleep(0.4)
        process.kill()
        process.wait()
        spawn(int(address.rpartition(":")[2]))

    trouble = threading.Thread(target=replace)

    def camera():
        n = 0
        while trouble.is_alive() or n < 50:
            yield n, image
            n += 1

    results = []
    trouble.start()
    if kind is Client:
        with Client(address) as client:
            results = list(client.segment_stream(camera(), concurrency=4))
    else:
        async with AsyncClient(address) as client:
            results = await collect(client.segment_stream(camera(), concurrency=4))
    trouble.join()
    assert [result for _, result in results if not isinstance(result, Segmentation)] == []
    assert sorted(key for key, _ in results) == list(range(len(results)))
    assert len(results) >= 50


async def test_each_frame_has_its_deadline(either, service, image):
    """One frame is late and is told so. The stream goes on, for longer than the deadline of a frame."""
    service.delay_of = lambda request: 20 if request.image.raw.pixels.shape[0] == 53 else 0.2
    frames = ((n, image[: 50 + n]) for n in range(8))
    begin = time.monotonic()
    results = dict(await collect(either.segment_stream(frames, concurrency=1, deadline_s=1)))
    assert time.monotonic() - begin > 1.5
    late = {key for key, result in results.items() if isinstance(result, cellserve.DeadlineError)}
    assert late == {3}
    assert sum(isinstance(result, Segmentation) for result in results.values()) == 7


async def test_the_newest_frame_alone(either, service, image):
    """A camera is four times as quick as the service: frames that wait are replaced, and the caller learns which."""
    service.delay_s = 0.2
    began: list[float] = []

    def camera():
        for n in range(20):
            began.append(time.monotonic())
            yield n, image[: 40 + n]
            time.sleep(0.05)

    results = await collect(either.segment_stream(camera(), concurrency=1, newest_only=True))
    assert sorted(key for key, _ in results) == list(range(20))
    skipped = [key for key, result in results if isinstance(result, SkippedError)]
    done = [(key, result) for key, result in results if isinstance(result, Segmentation)]
    assert len(skipped) + len(done) == 20
    assert all(len(result.labels) == 40 + key for key, result in done)
    assert [key for key, _ in done] == sorted(key for key, _ in done)
    assert 3 <= len(done) <= 10
    assert {0, 19} <= {key for key, _ in done}, "the first has nobody before it, the last nobody after it"
    assert results[0][0] != 19
    error = dict(results)[skipped[0]]
    assert (error.reason, error.code) == ("FRAME_SKIPPED", grpc.StatusCode.CANCELLED)
    # The frames sent are those that were the newest at that moment.
    heights = [request.image.raw.pixels.shape[0] - 40 for request in service.requests]
    assert heights == [key for key, _ in done]


async def test_the_newest_frame_alone_skips_nothing_in_a_quick_service(either, image):
    def camera():
        for n in range(5):
            yield n, image
            time.sleep(0.15)

    results = await collect(either.segment_stream(camera(), newest_only=True))
    assert all(isinstance(result, Segmentation) for _, result in results)
    assert [key for key, _ in results] == list(range(5))


async def test_ending_a_live_view(either, service, image):
    service.delay_s = 20
    stop = threading.Event()

    def camera():
        n = 0
        while not stop.is_set():
            yield n, image
            n += 1
            time.sleep(0.01)

    results = either.segment_stream(camera(), concurrency=2, newest_only=True)
    async for _, result in results:
        assert isinstance(result, SkippedError)
        await asyncio.to_thread(service.wait_running, 2)
        break
    begin = time.monotonic()
    await results.aclose()
    stop.set()
    assert time.monotonic() - begin < 5
    assert await asyncio.to_thread(service.cancelled.wait, 5)
