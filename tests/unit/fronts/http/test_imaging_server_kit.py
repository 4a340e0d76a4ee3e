"""The routes of Imaging Server Kit: what its clients send, see and get."""

import asyncio
import base64
import io
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
import tifffile
from cellserve_contract.objects import columns
from cellserve_contract.params import PARAMETERS, PRESETS
from cellserve_gateway.fronts.http.imaging_server_kit import PREFIX, layers
from cellserve_gateway.fronts.http.imaging_server_kit.parameters import NAMES, SHOWN, read
from cellserve_gateway.fronts.http.query import DIAMETER_OPTIONS

from tests.kit.client import run_kit

from .conftest import TOKEN, Serve

PROCESS = f"{PREFIX}/generalist/process"
META = {"description": "d", "min": 0, "features": {"a": [1, 2]}, "position": None}


def layer(name: str, data: Any, kind: str = "str") -> dict[str, Any]:
    tile = {"tile_idx": 0, "n_tiles": 1, "first_tile": [True, True], "last_tile": [True, True], "overlap_px": [0, 0]}
    return {"kind": kind, "data": data, "name": name, "meta": META, "tile_meta": tile}


def encoded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels)
    return base64.b64encode(file.getvalue()).decode()


def request(pixels: np.ndarray, **values: Any) -> list[dict[str, Any]]:
    return [layer("image", encoded(pixels), "image"), *itertools.starmap(layer, values.items())]


def decoded(content: bytes) -> list[dict[str, Any]]:
    """Returns the layers of an answer: MessagePack messages in a row."""
    return list(msgpack.Unpacker(io.BytesIO(content)))


def labels_of(mask: dict[str, Any]) -> np.ndarray:
    return tifffile.imread(io.BytesIO(base64.b64decode(mask["data"])))


async def test_describes_the_families_as_algorithms(serve: Serve, client: httpx.AsyncClient):
    async with serve() as running:

        async def get(path: str) -> Any:
            answer = await client.get(f"{running.url}{PREFIX}{path}")
            assert answer.status_code == 200, answer.text
            return answer.json()

        models = (await client.get(f"{running.url}/v1/models")).json()
        algorithms = (await get("/algorithms"))["algorithms"]
        assert algorithms[0] == models["default_model"] == "generalist"
        assert sorted(algorithms) == [model["name"] for model in models["models"]]
        assert await get("/version") == "0.3.1"
        assert await get("/generalist/tileable") == {"tileable": False}
        assert await get("/generalist/n_samples") == {"n_samples": 0}
        signature, described = await get("/generalist/signature"), await get("/generalist/parameters")
        assert signature == list(NAMES) == list(described["properties"])
        about = described["properties"]
        assert about["image"]["param_type"] == "image"
        assert (about["diameter"]["param_type"], about["diameter"]["default"]) == ("str", "")
        assert "Unit: pixels. Left out: estimated" in about["diameter"]["description"]
        assert (about["ensemble"]["param_type"], about["ensemble"]["default"]) == ("bool", True)
        assert about["stack_mode"]["enum"] == ["", "volume", "stitch", "planes"]
        for path in ("parameters", "signature", "tileable", "n_samples"):
            unknown = await client.get(f"{running.url}{PREFIX}/nobody/{path}")
            assert (unknown.status_code, "MODEL_UNKNOWN" in unknown.text) == (404, True)
        assert (await client.post(f"{running.url}{PREFIX}/nobody/process", content=b"[]")).status_code == 404
        info = await client.get(f"{running.url}{PREFIX}/generalist/info")
        assert (info.status_code, info.headers["location"]) == (307, "/docs")


async def test_the_layers_are_the_answer_of_the_rest_interface(
    serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, tiff: bytes
):
    async with serve() as running:
        rest = await client.post(f"{running.url}/v1/segment?diameter=30", content=tiff)
        form = {"Accept": "image/tiff"}
        expected = await client.post(f"{running.url}/v1/segment?diameter=30", content=tiff, headers=form)
        headers = {"X-Request-Id": "frame 7"}
        answer = await client.post(running.url + PROCESS, json=request(disks, diameter="30"), headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/msgpack"
        assert answer.headers["x-request-id"] == "frame 7"
        (mask,) = decoded(answer.content)
        assert (mask["kind"], mask["name"], mask["meta"]["merger"]) == ("mask", "CellServe", "instances")
        np.testing.assert_array_equal(labels_of(mask), tifffile.imread(io.BytesIO(expected.content)))
        objects = rest.json()["objects"]
        assert list(mask["meta"]["features"]) == [column.name for column in columns()]
        for name, values in mask["meta"]["features"].items():
            assert values == [one[name] for one in objects]
        made = mask["meta"]["metadata"]
        assert made == {name: rest.json()[name] for name in made if name != "request_id"} | {"request_id": "frame 7"}
        assert {"params", "model", "diameter_source"} < set(made)
        assert running.answered("POST /imaging-server-kit/{algorithm}/process", "OK") == 1
        assert running.in_flight() == running.in_flight("requests") == running.in_flight("pixels") == 0


async def test_warnings_are_notifications(serve: Serve, client: httpx.AsyncClient):
    async with serve() as running:
        body = request(np.zeros((40, 50), np.uint8), diameter=30)
        mask, *notes = decoded((await client.post(running.url + PROCESS, json=body)).content)
        assert mask["meta"]["features"] == {}
        assert labels_of(mask).max() == 0
        assert {note["kind"] for note in notes} == {"notification"}
        named = {note["name"]: note for note in notes}
        assert len(named) == len(notes), "the client replaces layers of one name"
        assert named["nothing_found"]["meta"] == {"level": "warning"}
        assert named["nothing_found"]["data"].startswith("No object was found. Check diameter")


@pytest.mark.parametrize(
    ("values", "used"),
    [
        ({"diameter": 31}, {"diameter": 31.0}),
        ({"diameter": "31.5"}, {"diameter": 31.5}),
        ({"diameter": ""}, {"diameter": None}),
        ({"diameter": None, "stack_mode": "", "cytoplasm_channel": ""}, {"diameter": None, "stack_mode": None}),
        ({"nucleus_channel": 1, "min_size": 40, "ensemble": False}, {"nucleus_channel": 1, "min_size": 40}),
        ({"preset": "cellpose3", "ensemble": True}, {"mask_rules": "cellpose3", "sum_views": True}),
        ({"more": "niter=300&augment=true"}, {"niter": 300, "augment": True}),
        ({"diameter": "20", "more": "diameter=40"}, {"diameter": 40.0}),
    ],
)
def test_reads_values(values: dict[str, Any], used: dict[str, Any]):
    params, _ = read(values, "generalist")
    assert params.model == "generalist"
    assert {name: getattr(params, name) for name in used} == used


def test_options_of_the_request_can_be_sent():
    params, chosen = read(
        {"invert": True, "axes": "CYX", "more": "priority=acquisition&deadline_s=2.5&work_budget_s=2"}, "generalist"
    )
    assert params.normalization.invert
    assert (chosen.axes, chosen.priority, chosen.deadline_s, chosen.work_budget_s) == ("CYX", "acquisition", 2.5, 2.0)


def test_a_preset_is_not_overridden_by_values_that_every_client_sends():
    always = {name for name in SHOWN if (PARAMETERS | DIAMETER_OPTIONS)[name].default not in (None, "")}
    assert always == {"ensemble", "invert"}
    assert not always & set(itertools.chain(*PRESETS.values()))


async def test_the_options_are_heeded(serve: Serve, client: httpx.AsyncClient, disks: np.ndarray):
    async with serve() as running:
        running.backend.pause_s = 5
        body = request(disks, diameter=30, more="deadline_s=0.5")
        answer = await client.post(running.url + PROCESS, json=body)
        assert answer.status_code == 504, "which the client calls a time limit"
        assert "DEADLINE_EXCEEDED" in answer.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"diameter": "0.5"}, "diameter is 0.5; allowed: 1 to 10000 pixels (PARAMETER_OUT_OF_RANGE)"),
        ({"diameter": "many"}, "diameter is 'many'; allowed: 1 to 10000 pixels"),
        ({"stack_mode": "cube"}, "stack_mode is cube; allowed: volume, stitch, planes"),
        ({"flow_thresh": 0.5}, "'flow_thresh' is unknown; use flow_threshold"),
        ({"model": "another"}, "'model' is unknown"),
        ({"more": "nitre=3"}, "'nitre' is unknown; the nearest known name is 'niter'"),
        ({"more": "niter=3&niter=4"}, "'niter' is given twice"),
        ({"diameter": [30]}, "the parameter 'diameter' is neither a text nor a number nor true or false"),
        ({"more": "a" * 5000}, "the parameter 'more' has more than 4,096 bytes"),
    ],
)
async def test_wrong_parameters_are_named(
    serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, values: dict[str, Any], said: str
):
    async with serve() as running:
        answer = await client.post(running.url + PROCESS, json=request(disks, **values))
        assert answer.status_code == 422, "which the client calls invalid parameters"
        assert said in answer.json()


def image(data: str) -> str:
    return f'[{{"kind":"image","name":"image","data":{data}}}]'


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 422, "MESSAGE_MALFORMED"),
        ("[", 422, "MESSAGE_MALFORMED"),
        ('{"image": "AAAA"}', 422, "MESSAGE_MALFORMED"),
        ('[{"name":"diameter"}]', 422, "MESSAGE_MALFORMED"),
        ("[" * 200_000, 422, "MESSAGE_MALFORMED"),
        ('[{"meta":' + "[" * 100_000 + "]" * 100_000 + ',"name":"a","data":1}]', 422, "MESSAGE_MALFORMED"),
        ("[" + "[]," * 20_000 + "[]]", 422, "MESSAGE_TOO_COMPLEX"),
        ('[{"meta":[' + "1," * 20_000 + '1],"name":"a","data":1}]', 422, "MESSAGE_TOO_COMPLEX"),
        ('[{"name":"a","data":1},{"name":"a","data":1}]', 422, "FIELD_INVALID"),
        ("[]", 400, "IMAGE_EMPTY"),
        (image("null"), 400, "IMAGE_EMPTY"),
        (image('["AAAA"]'), 400, "IMAGE_EMPTY"),
        (image('"%%%%"'), 400, "IMAGE_UNDECODABLE"),
        (image('"AAA"'), 400, "IMAGE_UNDECODABLE"),
        (image('""'), 400, "IMAGE_UNDECODABLE"),
        (image('"bm8gaW1hZ2U="'), 400, "IMAGE_UNDECODABLE"),
    ],
)
async def test_hostile_bodies_are_refused(serve: Serve, client: httpx.AsyncClient, body: str, status: int, reason: str):
    async with serve() as running:
        answer = await client.post(running.url + PROCESS, content=body.encode())
        assert (answer.status_code, reason in answer.text) == (status, True), answer.text[:300]
        assert len(answer.text) < 500
        assert running.in_flight() == running.in_flight("requests") == 0


async def test_the_image_is_bounded_as_everywhere(serve: Serve, client: httpx.AsyncClient):
    """Packed pixels that exceed the limits are refused by the reader; a body, by its declared length."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((3000, 3000), np.uint8), compression="zlib")
    bomb = [layer("image", base64.b64encode(file.getvalue()).decode(), "image")]
    async with serve(max_image_pixels=1_000_000, max_transfer_bytes=100_000) as running:
        answer = await client.post(running.url + PROCESS, json=bomb)
        assert (answer.status_code, "IMAGE_TOO_LARGE" in answer.text) == (413, True)
        answer = await client.post(running.url + PROCESS, json=request(np.zeros((300, 300), np.uint8)))
        assert (answer.status_code, "IMAGE_TOO_LARGE" in answer.text) == (413, True)
        assert answer.headers["content-type"].startswith("text/plain")


async def test_memory_is_reserved_for_the_image_beside_its_text(
    serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    body = json.dumps(request(disks, diameter=30)).encode()
    held = []

    def reading(*args: Any) -> layers.Sent:
        held.append(running.in_flight())
        return layers.read_request(*args)

    monkeypatch.setattr("cellserve_gateway.fronts.http.imaging_server_kit.interface.read_request", reading)
    async with serve() as running:
        assert (await client.post(running.url + PROCESS, content=body)).status_code == 200
    assert held == [2 * len(body)]


async def test_credentials_in_the_address_are_the_token(
    serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, tokens_file: Path
):
    """The client of the kit sends no header of its own."""
    async with serve(tokens_file=tokens_file) as running:
        path = f"{PREFIX}/algorithms"
        missing = await client.get(running.url + path)
        assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer"), "browsers do not ask"
        assert "put the token into the address of the server" in missing.text
        address = running.url.replace("://", f"://anybody:{TOKEN}@")
        assert (await client.get(address + path)).status_code == 200
        assert (await client.post(address + PROCESS, json=request(disks, diameter=30))).status_code == 200
        assert (await client.get(f"{address}/v1/models")).status_code == 200
        wrong = await client.get(running.url.replace("://", "://anybody:a-token-of-nobody-0123@") + path)
        assert (wrong.status_code, "TOKEN_UNKNOWN" in wrong.text) == (401, True)
        for credentials in ("Basic", "Basic ????", "Basic /w==", "Basic YQ=="):
            answer = await client.get(running.url + path, headers={"Authorization": credentials})
            assert answer.status_code == 401, credentials


def squares(count: int) -> np.ndarray:
    """Draws a grid of bright squares of 4 pixels, uint16."""
    image = np.zeros((6 * count, 6 * count), np.uint16)
    at = np.add.outer(6 * np.arange(count) + 1, np.arange(4)).ravel()
    image[np.ix_(at, at)] = 4000
    return image


async def test_the_kit_gets_more_than_65535_objects(
    serve: Serve, client: httpx.AsyncClient, disks: np.ndarray, tmp_path: Path
):
    """The kit's own client against the gateway: what it returns is what the REST interface answers."""
    many = squares(262)
    async with serve() as running:
        url = running.url + PREFIX
        calls = [{"url": url, "params": {"image": image, "diameter": 30}} for image in (many, disks, 0 * disks)]
        answers = await asyncio.to_thread(run_kit, calls, tmp_path)
        for image, answer in zip((many, disks, 0 * disks), answers, strict=True):
            assert "error" not in answer, answer
            assert (answer["kinds"][0], answer["algorithms"][0]) == ("mask", "generalist")
            file = io.BytesIO()
            tifffile.imwrite(file, image)
            form = {"Accept": "image/tiff"}
            rest = await client.post(f"{running.url}/v1/segment?diameter=30", content=file.getvalue(), headers=form)
            expected = tifffile.imread(io.BytesIO(rest.content))
            np.testing.assert_array_equal(answer["labels"], expected)
            assert answer["features"].get("label", []) == list(range(1, expected.max() + 1))
            assert answer["metadata"]["params"]["diameter"] == 30
    assert answers[0]["labels"].max() == 262**2 == 68_644 > 65_535
    assert answers[0]["labels"].dtype == np.uint32
    assert answers[2]["names"] == ["CellServe", "constant_plane", "nothing_found"]
