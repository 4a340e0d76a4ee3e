"""What the REST interface answers."""

import asyncio
import dataclasses
import io
import json
import threading
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.objects import columns
from cellserve_contract.params import PARAMETERS
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.fronts.http import answers, rest, sending
from cellserve_gateway.fronts.http.connections import Message
from scipy import ndimage

from .conftest import Serve, until

SEGMENT = "/v1/segment"


async def test_finds_the_disks(serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, tiff: bytes):
    truth, count = ndimage.label(disks)
    async with serve() as running:
        answer = await client.post(f"{running.url}{SEGMENT}?diameter=30&outlines=true", content=tiff)
        body = answer.json()
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert len(body["objects"]) == count
        assert set(body["objects"][0]) == {column.name for column in columns()} | {"outline"}
        found = [truth[round(o["centroid-0"]), round(o["centroid-1"])] for o in body["objects"]]
        assert sorted(found) == list(range(1, count + 1))
        for one in body["objects"]:
            (y0, x0, y1, x1), outline = (one[f"bbox-{n}"] for n in range(4)), np.array(one["outline"])
            assert [outline[:, 0].min(), outline[:, 1].min()] == [y0, x0]
            assert [outline[:, 0].max() + 1, outline[:, 1].max() + 1] == [y1, x1]
        assert set(body["params"]) == {*PARAMETERS, "invert"} - {"stack_mode", "anisotropy"}
        assert body["params"]["diameter"] == 30
        assert body["diameter_source"] == "caller"
        assert body["model"]["sha256"] == running.backend.network("").sha256
        assert (body["model"]["weights"], body["model"]["precision"]) == ("float16", "float32"), "the contract's words"
        assert body["model"]["runtime"] == "numpy"
        assert body["image"]["pixel_size_um"] == {"y": 0.5, "x": 0.5, "z": None}
        assert body["warnings"] == []
        assert body["timing"]["inference_s"] > 0
        assert running.answered("POST /v1/segment", "OK") == 1
        assert running.in_flight() == running.in_flight("requests") == running.in_flight("pixels") == 0


async def test_all_forms_agree(serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, tiff: bytes):
    async with serve() as running:

        async def ask(accept: str, query: str = "") -> httpx.Response:
            url = f"{running.url}{SEGMENT}?diameter=30{query}"
            answer = await client.post(url, content=tiff, headers={"Accept": accept})
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].partition(";")[0] == accept.partition(";")[0].partition(",")[0]
            return answer

        png = imagecodecs.png_decode((await ask("image/png")).content)
        with tifffile.TiffFile(io.BytesIO((await ask("image/tiff")).content)) as file:
            labels, resolution = file.asarray(), file.pages[0].tags["XResolution"].value
        assert png.dtype == np.uint16
        np.testing.assert_array_equal(png, labels)
        assert resolution[0] / resolution[1] == 20000
        assert ((labels > 0) == (disks > 0)).mean() > 0.99
        overlay = imagecodecs.png_decode((await ask("image/png", "&view=overlay")).content)
        assert overlay.shape == (*disks.shape, 3)
        assert (overlay.max(2) != overlay.min(2)).any()  # coloured lines on a grey image
        features = (await ask("application/geo+json")).json()["features"]
        assert len(features) == labels.max()
        table = (await ask("text/csv")).text.splitlines()
        sizes = ["pixel_size_y_um", "pixel_size_x_um"]
        assert table[0].split(",") == [*(column.name for column in columns()), *sizes]
        assert {row.rpartition(",0.5,")[2] for row in table[1:]} == {"0.5"}
        assert len(table) == labels.max() + 1
        with zipfile.ZipFile(io.BytesIO((await ask("application/zip")).content)) as archive:
            names = {"result.json", "labels.png", "labels.tif", "objects.geojson", "objects.csv", "overlay.png"}
            assert set(archive.namelist()) == names
            assert archive.read("objects.csv").decode().splitlines() == table
            assert len(json.loads(archive.read("result.json"))["objects"]) == labels.max()
            np.testing.assert_array_equal(imagecodecs.png_decode(archive.read("labels.png")), png)


async def test_says_how_it_was_made(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    """The parameters of an answer, sent again, give the same answer."""
    async with serve() as running:
        query = {
            "diameter": 27.5,
            "normalization": "percentiles:2,98.5",
            "cellprob_threshold": -0.25,
            "invert": "false",
        }
        headers = {"Accept": "image/tiff", "X-Request-Id": "night run/7"}
        first = await client.post(running.url + SEGMENT, params=query, content=tiff, headers=headers)
        made = json.loads(first.headers["x-cellserve-provenance"])
        assert made["params"]["normalization"] == "percentiles:2,98.5"
        assert first.headers["x-request-id"] == "night run/7"
        assert "inference;dur=" in first.headers["server-timing"]
        again = await client.post(running.url + SEGMENT, params=made["params"], content=tiff, headers=headers)
        assert json.loads(again.headers["x-cellserve-provenance"]) == made
        np.testing.assert_array_equal(
            tifffile.imread(io.BytesIO(first.content)), tifffile.imread(io.BytesIO(again.content))
        )


async def test_parameters_win_over_the_preset(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    async with serve() as running:
        url = f"{running.url}{SEGMENT}?preset=cellpose3&diameter=30&tile_margin=fixed"
        used = (await client.post(url, content=tiff, headers={"Accept": "application/json"})).json()["params"]
        assert (used["mask_rules"], used["normalization"]) == ("cellpose3", "cellpose3:1,99")
        assert (used["tile_margin"], used["niter"], used["flow_threshold"]) == ("fixed", 200, 0.4)
        refused = await client.post(f"{running.url}{SEGMENT}?preset=cellpose4", content=tiff)
        assert refused.status_code == 400
        assert "preset is cellpose4; allowed: cellpose3" in refused.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("image/*", "image/png"),
        ("image/*;q=0.5, image/tiff", "image/tiff"),
        ("application/json;q=0, application/*", "application/geo+json"),
        ("IMAGE/TIFF", "image/tiff"),
    ],
)
async def test_negotiates(serve: Serve, client: httpx.AsyncClient, tiff: bytes, accept: str, kind: str):
    async with serve() as running:
        answer = await client.post(f"{running.url}{SEGMENT}?diameter=30", content=tiff, headers={"Accept": accept})
        assert answer.headers["content-type"].partition(";")[0] == kind


async def test_estimates_the_diameter(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    async with serve() as running:
        body = (await client.post(f"{running.url}/v1/diameter", content=tiff)).json()
        assert body["diameter"] > 5
        assert body["diameter_source"] == "size_model"
        given = (await client.post(f"{running.url}/v1/diameter?diameter=31", content=tiff)).json()
        assert (given["diameter"], given["diameter_source"]) == (31, "caller")


async def test_lists_models(serve: Serve, client: httpx.AsyncClient):
    async with serve() as running:
        listed = (await client.get(f"{running.url}/v1/models")).json()
        assert listed["default_model"] == "generalist"
        (model,) = [model for model in listed["models"] if model["name"] == "generalist"]
        assert model["ready"] is True
        assert model["working_diameter"] == 30
        assert (await client.get(f"{running.url}/v1/models/generalist")).json() == model
        unknown = await client.get(f"{running.url}/v1/models/nobody")
        assert (unknown.status_code, unknown.json()["reason"]) == (404, "MODEL_UNKNOWN")


async def test_works_on_pixels_outside_the_event_loop(
    serve: Serve, client: httpx.AsyncClient, tiff: bytes, monkeypatch: pytest.MonkeyPatch
):
    threads = {}

    def recording(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            threads[name] = threading.current_thread().name
            return function(*args, **kwargs)

        return recorded

    monkeypatch.setattr(ImageFiles, "read", recording("decode", ImageFiles.read))
    tiff_form = dataclasses.replace(answers.LABELS_TIFF, render=recording("encode", answers.LABELS_TIFF.render))
    monkeypatch.setattr(rest, "negotiate", lambda accept, overlay: tiff_form)
    async with serve() as running:
        assert (await client.post(f"{running.url}{SEGMENT}?diameter=30", content=tiff)).status_code == 200
    assert {name: thread.partition("_")[0] for name, thread in threads.items()} == {
        "decode": "decoding-batch",
        "encode": "images-batch",
    }


async def test_sends_answers_in_pieces():
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    content = np.random.default_rng(2).bytes(3 * sending.PIECE_BYTES + 7)
    await sending.PiecewiseResponse(content, "image/tiff", {}, limit_s=5)({"type": "http"}, None, send)
    bodies = sent[1:]
    assert b"".join(message["body"] for message in bodies) == content
    assert max(len(message["body"]) for message in bodies) == sending.PIECE_BYTES
    assert [message["more_body"] for message in bodies] == [True, True, True, False]
    assert (b"content-length", str(len(content)).encode()) in sent[0]["headers"]


async def test_leaves_when_the_caller_leaves(serve: Serve, tiff: bytes):
    async with serve() as running:
        running.backend.pause_s = 30
        _, writer = await running.connect()
        head = f"POST {SEGMENT}?diameter=30 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(tiff)}\r\n\r\n"
        writer.write(head.encode() + tiff)
        await until(lambda: running.in_flight("pixels"), 20)
        await asyncio.sleep(0.2)
        writer.close()
        await until(lambda: not running.in_flight("requests"), 5)
        assert running.backend.cancelled > 0
        assert running.answered("POST /v1/segment", "CANCELLED") == 1
        assert running.in_flight("bytes") == 0


async def test_keeps_deadlines(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    async with serve() as running:
        running.backend.pause_s = 30
        answer = await client.post(f"{running.url}{SEGMENT}?diameter=30&deadline_s=0.5", content=tiff)
        assert (answer.status_code, answer.json()["reason"]) == (504, "DEADLINE_EXCEEDED")
