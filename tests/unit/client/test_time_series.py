"""Time series: a request for each time point, results in order of time."""

from __future__ import annotations

import asyncio
import pickle
import time

import cellserve
import grpc
import numpy as np
import pytest
import tifffile
from cellserve import EncodedImage, Image, SegmentParams
from cellserve.errors import at_time_point
from cellserve.time_series import of_time_series

from .scripted_server import Service, failure, unpack

NO = failure(grpc.StatusCode.INVALID_ARGUMENT, "too many tiles", "IMAGE_TOO_LARGE", resource="tiles")
SERIES = np.zeros((4, 40, 50))


class Uneven(Service):
    """A server that is slow for even time points: the answers come in another order."""

    def delay_of(self, request) -> float:
        return self.delay_s * (number_of(unpack(request.image.raw.pixels)) % 2 == 0)


def number_of(pixels) -> int:
    """Number of a time point of `movie`."""
    return int(pixels[0, 0]) - 100


@pytest.fixture
def service() -> Service:
    return Uneven()


@pytest.fixture
def movie(image) -> np.ndarray:
    """Ten time points: the disks move to the right; the first pixel tells the number."""
    frames = np.stack([np.roll(image, number, axis=1) for number in range(10)])
    frames[:, 0, 0] = np.arange(100, 110)
    return frames


async def labels_of(results) -> list[np.ndarray]:
    return [result.labels async for result in results]


async def test_results_come_in_order_of_time(either, service, movie, tmp_path):
    service.delay_s = 0.05
    tifffile.imwrite(tmp_path / "movie.tif", movie, imagej=True, metadata={"axes": "TYX"})
    found = await labels_of(either.segment_series(movie, diameter=30, concurrency=4))
    np.testing.assert_array_equal(np.stack(found) > 0, movie > 1000)
    assert {request.params.diameter for request in service.requests} == {30}
    assert service.most_running <= 4
    for other in (
        tmp_path / "movie.tif",
        EncodedImage((tmp_path / "movie.tif").read_bytes()),
        Image(np.moveaxis(movie, 0, 2), "YXT"),
    ):
        for labels, expected in zip(await labels_of(either.segment_series(other)), found, strict=True):
            np.testing.assert_array_equal(labels, expected)


async def test_a_time_point_is_segmented_as_an_image(either, movie):
    """The diameter is estimated from each time point."""
    number = 0
    async for result in either.segment_series(movie[:3]):
        alone = await either.segment(movie[number])
        np.testing.assert_array_equal(result.labels, alone.labels)
        assert (result.objects, result.params) == (alone.objects, alone.params)
        assert result.diameter_source == "training_diameter"
        number += 1
    assert number == 3


async def test_an_image_without_time_is_one_time_point(either, image):
    (labels,) = await labels_of(either.segment_series(image))
    np.testing.assert_array_equal(labels > 0, image > 1000)


async def test_results_that_wait_count(either, service, movie):
    """No more time points than `concurrency` are sent while the first is awaited."""
    service.delay_of = lambda request: 0.3 * (number_of(unpack(request.image.raw.pixels)) == 0)
    results = either.segment_series(movie, concurrency=3)
    await anext(results)
    assert len(service.requests) == 3
    await results.aclose()


async def test_an_error_names_its_time_point(either, service, movie):
    service.failures.extend([NO])
    results = either.segment_series(movie, concurrency=1)
    with pytest.raises(cellserve.InvalidRequestError, match=r"^time point 0: too many tiles") as caught:
        await anext(results)
    error = caught.value
    assert (error.reason, error.metadata) == ("IMAGE_TOO_LARGE", {"resource": "tiles", "time_point": "0"})
    assert error.request_id == service.requests[0].request_id
    assert [result async for result in results] == []
    assert len(service.requests) == 1


async def test_results_before_an_error_are_there(either, service, movie):
    movie = movie.astype(np.float32)
    movie[2, 5, 5] = np.nan
    results = either.segment_series(movie, concurrency=2)
    for number in range(2):
        np.testing.assert_array_equal((await anext(results)).labels > 0, movie[number] > 1000)
    with pytest.raises(cellserve.InvalidRequestError, match=r"^time point 2: "):
        await anext(results)


async def test_ending_early_cancels(either, service, movie):
    service.delay_of = lambda request: 20 * (number_of(unpack(request.image.raw.pixels)) > 0)
    results = either.segment_series(movie, concurrency=3)
    start_s = time.monotonic()
    await anext(results)
    await asyncio.to_thread(service.wait_running, 2)
    await results.aclose()
    assert time.monotonic() - start_s < 5
    assert await asyncio.to_thread(service.cancelled.wait, 5)


async def test_what_cannot_be_read(either, service, tmp_path):
    tifffile.imwrite(tmp_path / "stacks.tif", np.zeros((2, 3, 9, 9), "u1"), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(cellserve.InvalidRequestError, match=r"a z stack .*--volume"):
        await labels_of(either.segment_series(tmp_path / "stacks.tif"))
    with pytest.raises(cellserve.InvalidRequestError, match=r"No such file"):
        await labels_of(either.segment_series(tmp_path / "none.tif"))
    with pytest.raises(cellserve.InvalidRequestError, match=r"concurrency"):
        await labels_of(either.segment_series(SERIES, concurrency=0))
    assert not service.requests


async def test_one_request_holds_one_time_point(either, service, movie, tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", movie, imagej=True, metadata={"axes": "TYX"})
    for image in (Image(movie, "TYX"), tmp_path / "movie.tif"):
        for call in (either.segment, either.segment_volume, either.estimate_diameter):
            with pytest.raises(cellserve.InvalidRequestError, match=r"a time series .*segment_series") as caught:
                await call(image)
            assert caught.value.reason == "AXES_UNKNOWN"
    assert not service.requests


@pytest.mark.parametrize(
    ("shape", "mode", "axes"),
    [
        ((4, 40, 50), None, "TYX"),
        ((4, 2, 40, 50), None, "TCYX"),
        ((4, 40, 50), "stitch", "TYX"),
        ((4, 3, 40, 50), "volume", "TZYX"),
        ((4, 3, 2, 40, 50), "volume", "TZCYX"),
        ((40, 50), None, None),
    ],
)
def test_arrays_begin_with_time(shape, mode, axes):
    image = np.zeros(shape)
    assert of_time_series(image, None, {"stack_mode": mode})["axes"] == axes
    assert of_time_series(image, SegmentParams(stack_mode=mode), {})["axes"] == axes
    assert of_time_series(image, None, {"axes": "YXT"}) == {"axes": "YXT"}
    assert of_time_series("movie.tif", None, {}) == of_time_series(Image(SERIES, "TYX"), None, {}) == {}


def test_errors_of_time_points_survive_processes():
    error = cellserve.OverloadedError(
        "full", grpc.StatusCode.RESOURCE_EXHAUSTED, "GATEWAY_FULL", {"a": "b"}, "r-1", 0.5
    )
    error.attempts = 3
    named = at_time_point(error, 7)
    again = pickle.loads(pickle.dumps(named))
    for one in (named, again):
        assert isinstance(one, cellserve.OverloadedError)
        assert str(one) == "time point 7: full [GATEWAY_FULL, request r-1, 3 attempts]"
        assert (one.metadata, one.retry_after_s) == ({"a": "b", "time_point": "7"}, 0.5)
