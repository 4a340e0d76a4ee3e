"""Both clients against a server: everything once synchronously, once asynchronously, through the same tests."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
import time

import cellserve
import grpc
import numpy as np
import pytest
import tifffile
from cellserve import AsyncClient, Client, SegmentParams
from cellserve_contract.warnings import WarningKind

from .scripted_server import Service, failure, start

FULL = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL")


def test_both_have_the_same_methods_and_arguments():
    def surface(cls):
        return {
            name: [(p.name, p.kind, p.default, p.annotation) for p in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    one, other = surface(Client), surface(AsyncClient)
    assert one.keys() == other.keys()
    for name in one.keys() - {"segment_many", "segment_stream"}:
        assert one[name] == other[name]
    for name in ("segment_many", "segment_stream"):  # these also take asynchronous iterables
        assert [p[:3] for p in one[name]] == [p[:3] for p in other[name]]


async def test_segment(either, image):
    result = await either.segment(image, diameter=30.5, request_id="r-1")
    assert result.labels.dtype == np.uint16
    assert result.labels.shape == image.shape
    np.testing.assert_array_equal(result.labels > 0, image > 1000)
    assert [entry.label for entry in result.objects] == [1, 2, 3]
    first = result.objects[0]
    assert first.bbox == (11, 11, 30, 30)
    assert first.centroid == (20.0, 20.0)
    assert first.area == np.count_nonzero(result.labels == 1)
    assert first.equivalent_diameter_area == pytest.approx(2 * (first.area / np.pi) ** 0.5)
    assert first.outline is None
    assert (result.params.diameter, result.diameter_source) == (30.5, "caller")
    assert result.params.normalization == cellserve.Normalization("percentiles", 1, 99)
    assert result.params.interpolation == "bilinear"
    assert result.model.sha256 == "ab" * 32
    assert (result.model.weights, result.model.precision, result.model.runtime) == (
        "float16",
        "bfloat16",
        "onnxruntime",
    )
    assert (result.axes, result.pixel_size, result.warnings, result.server_version) == ("YX", None, (), "9.9")
    assert (result.timing.tiles, result.timing.total_s) == (9, 0.75)
    assert result.request_id == "r-1"
    assert result.flows is result.cell_probability is result.style is None
    assert "3 objects" in repr(result)
    result.labels[:] = 0  # the caller's own


async def test_optional_outputs(either, image):
    result = await either.segment(image, outputs=["outlines", "flows", "cell_probability", "style"])
    assert result.flows.shape == (2, 96, 128)
    assert result.cell_probability.shape == (96, 128)
    assert result.style.shape == (256,)
    outline = result.objects[0].outline
    assert (outline.dtype, outline.shape[1]) == (np.int32, 2)
    assert (result.labels[tuple(outline.T)] == 1).all()
    assert [*outline.min(axis=0), *outline.max(axis=0) + 1] == list(result.objects[0].bbox)


async def test_labels_can_be_left_out(either, image):
    result = await either.segment(image, omit_labels=True)
    assert len(result.objects) == 3
    assert result.label_image is None
    with pytest.raises(ValueError, match="omit_labels"):
        _ = result.labels
    assert "3 objects" in repr(result)


@pytest.mark.parametrize("map_type", ["float32", "float16"])
async def test_maps_alone(either, image, map_type):
    result = await either.segment(image, maps_only=True, map_type=map_type, diameter=30)
    assert (result.maps.shape, result.maps.dtype) == ((3, 96, 128), map_type)
    assert (result.label_image, result.objects) == (None, ())


async def test_pixel_sizes_come_back(either, image):
    size = cellserve.PixelSize(0.5, 0.25, 2)
    assert (await either.segment(cellserve.Image(image, "YX", size))).pixel_size == size


async def test_warnings(either, image):
    (warning,) = (await either.segment(np.zeros_like(image))).warnings
    assert (warning.kind, warning.metadata) == ("nothing_found", {"largest_logit": "-3"})
    assert (warning.message, warning.suggestion) == (
        WarningKind.NOTHING_FOUND.meaning,
        WarningKind.NOTHING_FOUND.suggestion,
    )


async def test_everything_asked_for_is_sent(either, service, image):
    params = SegmentParams(model="generalist", niter=50)
    await either.segment(image[:, :, None], params, axes="YXC", niter=60, priority="acquisition", compression="zlib")
    (request,) = service.requests
    assert (request.params.model, request.params.niter) == ("generalist", 60)
    assert (request.priority, request.compression, request.image.raw.axes) == (1, 2, "YXC")
    assert request.image.raw.pixels.compression == 2
    assert len(request.image.raw.pixels.data) < image.nbytes
    assert len(request.request_id) == 32


async def test_files_are_read_here(either, tmp_path, image):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    assert len((await either.segment(path)).objects) == 3
    assert len((await either.segment(str(path))).objects) == 3
    with pytest.raises(cellserve.InvalidRequestError, match=r"missing\.tif"):
        await either.segment(tmp_path / "missing.tif")


async def test_other_calls(either, image):
    estimate = await either.estimate_diameter(image, model="generalist", request_id="r-2")
    assert (estimate.diameter, estimate.source, estimate.request_id) == (30.1, "training_diameter", "r-2")
    listed = await either.models()
    assert (len(listed), listed.default, [model.name for model in listed]) == (1, "generalist", ["generalist"])
    assert await either.model("generalist") == listed.models[0]
    assert listed.models[0].channels == ("cytoplasm", "nucleus")
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        await either.model("nobody")
    assert caught.value.reason == "MODEL_UNKNOWN"
    assert await either.health() == "SERVING"


async def test_answers_that_make_no_sense(serve, image):
    class Wrong(Service):
        def Segment(self, request, context):
            answer = super().Segment(request, context)
            answer.labels.shape[0] += 1
            return answer

    async with AsyncClient(serve(Wrong())) as client:
        with pytest.raises(cellserve.ServerError, match="bytes instead of") as caught:
            await client.segment(image, request_id="r-3")
    assert (caught.value.reason, caught.value.request_id) == ("ANSWER_INVALID", "r-3")


async def test_many(either, service, image):
    service.delay_s = 0.05
    service.failures.extend([FULL, FULL])
    items = {f"image {n}": image for n in range(12)} | {"stack": np.zeros((5, 6, 7))}
    results = {key: result async for key, result in either.segment_many(items.items(), concurrency=3)}
    assert results.keys() == items.keys()
    errors = [type(result) for result in results.values() if isinstance(result, cellserve.CellServeError)]
    assert sorted(error.__name__ for error in errors) == ["InvalidRequestError", "OverloadedError", "OverloadedError"]
    assert service.most_running == 3


async def test_many_reads_no_further_than_needed(either, service, image):
    read = []

    def images():
        for n in range(1000):
            read.append(n)
            yield n, image

    results = either.segment_many(images(), concurrency=4)
    assert read == []
    seen = 0
    async for _ in results:
        seen += 1
        assert len(read) <= seen + 4
        if seen == 10:
            break
    await results.aclose()
    assert len(read) <= 14


async def test_ending_many_early_cancels(either, service, image):
    service.delay_s = 20
    results = either.segment_many([(0, np.zeros((5, 6, 7))), (1, image), (2, image)], concurrency=3)
    start_s = time.monotonic()
    async for key, _ in results:
        assert key == 0  # refused here, while the others run
        await asyncio.to_thread(service.wait_running, 2)
        break
    await results.aclose()
    assert time.monotonic() - start_s < 5
    assert await asyncio.to_thread(service.cancelled.wait, 5)


async def test_a_failing_iterable_is_the_callers_problem(either, image):
    def images():
        yield 0, image
        raise KeyError("mine")

    for method in (either.segment_many, either.segment_stream):
        with pytest.raises(KeyError, match="mine"):
            async for _ in method(images(), concurrency=2):
                pass


async def test_wrong_arguments_fail_at_the_call(serve, image):
    with Client(serve(Service())) as client:
        for method in (client.segment_many, client.segment_stream):
            with pytest.raises(TypeError):
                method([(0, image)], diametre=30)


async def test_asynchronous_iterables(serve, image):
    async def images():
        for n in range(5):
            await asyncio.sleep(0)
            yield n, image

    async with AsyncClient(serve(Service())) as client:
        assert {key async for key, _ in client.segment_many(images())} == set(range(5))
        assert {key async for key, _ in client.segment_stream(images())} == set(range(5))


async def test_cancelling_a_task_cancels_the_call(serve, image):
    service = Service(delay_s=20)
    async with AsyncClient(serve(service)) as client:
        task = asyncio.create_task(client.segment(image))
        await asyncio.to_thread(service.wait_running, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(service.cancelled.wait, 5)


def test_interrupting_a_call_cancels_it(serve, image):
    def interrupt(*_):
        raise KeyboardInterrupt

    service = Service(delay_s=20)
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Client(serve(service)) as client:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(KeyboardInterrupt):
                client.segment(image)
            assert service.cancelled.wait(5)
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_async_client_may_be_made_outside_the_loop(serve, image):
    client = AsyncClient(serve(Service()))

    async def work():
        async with client:
            return await client.segment(image)

    result = []
    thread = threading.Thread(target=lambda: result.append(asyncio.run(work())))
    thread.start()
    thread.join(20)
    assert len(result[0].objects) == 3


def test_not_serving():
    server, health, port = start(Service())
    try:
        health.set("", 2)
        with Client(f"127.0.0.1:{port}") as client:
            assert client.health() == "NOT_SERVING"
    finally:
        server.stop(None).wait()
