"""The server that users start in their own tests."""

from __future__ import annotations

import time

import cellserve
import numpy as np
import pytest
from cellserve import AsyncClient, Client, EncodedImage, Image, PixelSize
from cellserve.testing import FakeServer
from cellserve.testing.answers import consecutive
from cellserve_contract.objects import columns
from cellserve_contract.reasons import ErrorReason
from cellserve_formats.png import png_bytes
from cellserve_preprocess import TileGrid

LABELS = np.zeros((60, 80), np.int64)
LABELS[4:14, 6:26], LABELS[30:50, 50:80] = 7, 3
PIXELS = np.arange(4800, dtype=np.uint16).reshape(60, 80)


@pytest.fixture
def fake():
    with FakeServer(LABELS) as server:
        yield server


@pytest.fixture
def client(fake):
    with Client(fake.address) as client:
        yield client


def test_objects_follow_from_the_labels(client):
    measure = pytest.importorskip("skimage.measure")
    result = client.segment(PIXELS)
    np.testing.assert_array_equal(result.labels, np.where(LABELS == 7, 2, np.where(LABELS == 3, 1, 0)))
    assert result.labels.dtype == np.uint16
    own = {"mean_probability", "flow_error"}
    names = [column.name for column in columns() if column.name not in own]
    expected = measure.regionprops_table(
        result.labels.astype(int), properties=sorted({name.partition("-")[0] for name in names})
    )
    for name in names:
        np.testing.assert_allclose(result.table[name], expected[name], rtol=1e-6)


@pytest.mark.parametrize(("highest", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_any_number_of_objects(highest, dtype):
    labels = 3 * np.arange(1, highest + 1).reshape(1, -1)
    numbered = consecutive(labels)
    np.testing.assert_array_equal(numbered, labels // 3)
    assert numbered.dtype == dtype


def test_a_function_sees_the_image():
    seen = []

    def threshold(image: Image):
        seen.append(image)
        return image.pixels > 100

    with FakeServer(threshold) as server, Client(server.address) as client:
        image = Image(PIXELS, "YX", PixelSize(0.5, 0.25))
        result = client.segment(image)
        np.testing.assert_array_equal(result.labels, PIXELS > 100)
        assert client.segment(EncodedImage(png_bytes(PIXELS))).labels.max() == 1
        rgb = np.zeros((5, 6, 3), np.uint8)
        with pytest.raises(cellserve.ServerError, match="labels of shape"):
            client.segment(rgb)
    assert (seen[0].axes, seen[0].pixel_size, result.pixel_size) == ("YX", image.pixel_size, image.pixel_size)
    np.testing.assert_array_equal(seen[1].pixels, PIXELS)


def test_optional_outputs_agree_with_the_objects(client):
    result = client.segment(PIXELS, outputs=["outlines", "flows", "cell_probability", "maps", "style"])
    inside = result.labels > 0
    assert (result.cell_probability[inside] > 0).all()
    assert (result.cell_probability[~inside] < 0).all()
    np.testing.assert_allclose(np.hypot(*result.flows)[inside], 1, atol=1e-5)
    assert not result.flows[:, ~inside].any()
    assert result.flows[0, 30, 65] > 0.9, "from the upper border down to the centre"
    np.testing.assert_allclose(result.maps[:2], 5 * result.flows)
    assert np.linalg.norm(result.style) == pytest.approx(1)
    for entry in result.objects:
        assert (result.labels[tuple(entry.outline.T)] == entry.label).all()
    half = client.segment(PIXELS, maps_only=True, map_type="float16")
    assert (half.maps.dtype, half.label_image, half.objects, half.warnings) == (np.float16, None, (), ())


def test_the_diameter(client):
    estimate = client.estimate_diameter(PIXELS)
    sizes = np.sqrt(np.array([600, 200]) * 4 / np.pi)
    assert (estimate.diameter, estimate.source) == (pytest.approx(np.median(sizes)), "size_model")
    assert client.segment(PIXELS).params.diameter == estimate.diameter
    given = client.segment(PIXELS, diameter=12)
    assert (given.params.diameter, given.diameter_source) == (12, "caller")
    of_stacks = {"stack_mode", "anisotropy"}
    unset = {name for name in cellserve.SegmentParams.__dataclass_fields__ if getattr(given.params, name) is None}
    assert unset == of_stacks, "all others are resolved"


def test_there_are_no_networks(client):
    with pytest.raises(cellserve.InvalidRequestError, match="no networks to run") as caught:
        client.run_networks(np.zeros((1, 1, 60, 80), np.float32), TileGrid.cover((60, 80)))
    assert (caught.value.reason, caught.value.metadata["feature"]) == ("NOT_IMPLEMENTED", "RunNetworks")


def test_nothing_found():
    with FakeServer(np.zeros((9, 9), int)) as server, Client(server.address) as client:
        result = client.segment(np.zeros((9, 9)))
    assert [warning.kind for warning in result.warnings] == ["nothing_found"]
    assert (result.objects, result.params.diameter) == ((), 30)


@pytest.mark.parametrize("reason", [reason for reason in ErrorReason if reason.source == "server"], ids=str)
def test_every_reason_of_a_server_can_be_had(fake, client, reason):
    fake.fail(reason.name, limit=3)
    if reason.status == "UNAVAILABLE" or reason is ErrorReason.ANSWER_TOO_LARGE:  # the client calls again
        assert client.segment(PIXELS).objects
        return
    with pytest.raises(cellserve.CellServeError) as caught:
        client.segment(PIXELS)
    assert (caught.value.reason, caught.value.code.name) == (reason.name, reason.status)
    assert (caught.value.message, caught.value.metadata["limit"]) == (reason.meaning, "3")
    assert client.segment(PIXELS).objects, "one request fails, the next does not"


def test_failures_on_demand(fake, client):
    fake.fail("GATEWAY_FULL", times=2, message="full")
    results = [result for _, result in client.segment_many([PIXELS] * 4, concurrency=1)]
    assert [type(result).__name__ for result in results] == ["OverloadedError"] * 2 + ["Segmentation"] * 2
    fake.fail("GATEWAY_FULL", retry_after_s=0.1)
    assert client.segment(PIXELS).objects, "the client follows the invitation to come again"
    with pytest.raises(ValueError, match=r"GATEWAY_FUL is no reason of a server; known: .*GATEWAY_FULL"):
        fake.fail("GATEWAY_FUL")


def test_a_slow_server():
    with FakeServer(LABELS, delay_s=5) as server, Client(server.address) as client:
        begin = time.monotonic()
        with pytest.raises(cellserve.DeadlineError):
            client.segment(PIXELS, deadline_s=0.2)
        assert time.monotonic() - begin < 2


def test_what_was_received(fake):
    metadata = [("authorization", "Bearer secret")]
    with Client(fake.address, metadata=metadata) as client:
        client.segment(PIXELS, diameter=30, priority="acquisition", request_id="r-1")
        client.estimate_diameter(PIXELS)
    first, second = fake.received
    np.testing.assert_array_equal(first.image.pixels, PIXELS)
    assert (first.params.diameter, first.params.niter) == (30, None)
    assert (first.request_id, first.priority, second.priority) == ("r-1", "acquisition", "batch")
    assert first.metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("image", "options", "reason"),
    [
        (np.full((60, 80), np.nan), {}, "PIXELS_NOT_FINITE"),
        (np.zeros((0, 80)), {}, "IMAGE_EMPTY"),
        (np.zeros((2, 60, 80)), {"axes": "ZYX"}, "AXES_UNKNOWN"),
        (np.zeros((60, 80), complex), {}, "DATA_TYPE_UNSUPPORTED"),
        (EncodedImage(png_bytes(PIXELS)[:99]), {}, "IMAGE_UNDECODABLE"),
        (PIXELS, {"cytoplasm_channel": 3}, "PARAMETER_OUT_OF_RANGE"),
        (np.zeros((5, 60, 80)), {"axes": "CYX"}, "PARAMETER_OUT_OF_RANGE"),
        (PIXELS, {"model": "nobody"}, "MODEL_UNKNOWN"),
        (PIXELS, {"diameter": -1}, "PARAMETER_OUT_OF_RANGE"),
    ],
)
def test_bad_requests_are_refused_as_by_a_real_server(client, image, options, reason):
    with pytest.raises(cellserve.InvalidRequestError) as caught:
        client.segment(image, **options)
    assert caught.value.reason == reason


def test_a_failing_function_is_named(client):
    def broken(image):
        raise KeyError("mine")

    with (
        FakeServer(broken) as server,
        Client(server.address) as client,
        pytest.raises(cellserve.ServerError, match="KeyError: 'mine'"),
    ):
        client.segment(PIXELS)


def test_other_calls(client):
    assert client.health() == "SERVING"
    assert client.models().default == client.model("generalist").name == "generalist"
    assert client.limits().max_image_pixels == 0
    with pytest.raises(cellserve.InvalidRequestError, match="there is no model 'nobody'; known: generalist"):
        client.model("nobody")


async def test_large_images_go_in_chunks():
    labels = np.zeros((1600, 1200), np.uint16)
    labels[10:1500, 10:1000] = 1
    image = np.random.default_rng(0).integers(0, 255, (6, *labels.shape), np.uint8)
    with FakeServer(labels) as server:
        async with AsyncClient(server.address) as client:
            options = {"axes": "CYX", "cytoplasm_channel": 5}
            result = await client.segment(image, **options)
            assert (await client.estimate_diameter(image, **options)).source == "size_model"
        np.testing.assert_array_equal(result.labels, labels)
        np.testing.assert_array_equal(server.received[0].image.pixels, image)


def test_a_closed_server_is_gone(fake):
    fake.close()
    with Client(fake.address) as client, pytest.raises(cellserve.UnavailableError):
        client.segment(PIXELS, deadline_s=0.3)
