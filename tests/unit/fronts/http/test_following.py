"""Answers that begin with the progress of the work."""

import asyncio
import base64
import json

import httpx
import pytest
from cellserve_gateway.app import progress

from .conftest import Serve, until

LINES = "application/x-ndjson"
URL = "/v1/segment?diameter=30"


async def lines(client: httpx.AsyncClient, url: str, content: bytes, accept: str = LINES) -> list[tuple[str, dict]]:
    """Returns the members of an answer's lines, in order."""
    answer = await client.post(url, content=content, headers={"Accept": accept, "X-Request-Id": "r-1"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINES), answer.text
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.content.endswith(b"\n")
    members = [json.loads(line) for line in answer.text.splitlines()]
    assert all(len(member) == 1 for member in members)
    return [next(iter(member.items())) for member in members]


async def test_progress_comes_before_the_answer(serve: Serve, client: httpx.AsyncClient, tiff: bytes, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    async with serve() as running:
        running.backend.pause_s = 0.3
        *parts, (last, answer) = await lines(client, f"{running.url}{URL}", tiff)
        assert len(parts) > 1
        assert {name for name, _ in parts} == {"progress"}
        assert last == "answer"
        first, end = parts[0][1], parts[-1][1]
        assert (first["stage"], first["tiles_done"], "left_s" in first) == ("preprocess", 0, False)
        assert end["tiles_total"] > 0
        plain = await client.post(f"{running.url}{URL}", content=tiff)
        assert (answer["media_type"], answer["file_name"]) == ("application/json", "result.json")
        assert answer["content"]["objects"] == plain.json()["objects"]
        assert answer["provenance"] == json.loads(plain.headers["x-cellserve-provenance"])
        assert answer["timing"]["inference_s"] > 0
        await until(lambda: running.in_flight() == 0)
        assert running.answered("POST /v1/segment", "OK") == 2


@pytest.mark.parametrize("kind", ["image/tiff", "image/png", "text/csv", "application/zip"])
async def test_other_forms(serve: Serve, client: httpx.AsyncClient, tiff: bytes, kind: str):
    async with serve() as running:
        *_, (_, answer) = await lines(client, f"{running.url}{URL}", tiff, f"{kind}, {LINES}")
        assert answer["media_type"] == kind
        plain = await client.post(f"{running.url}{URL}", content=tiff, headers={"Accept": kind})
        if kind != "application/zip":  # has the times
            assert base64.b64decode(answer["base64"]) == plain.content


@pytest.mark.parametrize("accept", ["*/*", "application/*", f"{LINES};q=0, */*"])
async def test_only_for_those_who_ask(serve: Serve, client: httpx.AsyncClient, tiff: bytes, accept: str):
    async with serve() as running:
        answer = await client.post(f"{running.url}{URL}", content=tiff, headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"


async def test_a_failure_is_the_last_line(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    async with serve() as running:
        *_, (last, problem) = await lines(client, f"{running.url}{URL}", b"no image")
        assert last == "problem"
        assert (problem["status"], problem["reason"], problem["request_id"]) == (400, "IMAGE_UNDECODABLE", "r-1")
        refused = await client.post(f"{running.url}/v1/segment?niter=-1", content=tiff, headers={"Accept": LINES})
        assert (refused.status_code, refused.json()["reason"]) == (400, "PARAMETER_OUT_OF_RANGE"), "before the work"
        assert running.answered("POST /v1/segment", "INVALID_ARGUMENT") == 2
        assert running.connections("failed") == 0
        await until(lambda: running.in_flight() == 0)


async def test_an_unforeseen_failure_shows_no_internals(serve: Serve, client: httpx.AsyncClient, tiff: bytes):
    async with serve() as running:
        running.backend.infer = None
        *_, (_, problem) = await lines(client, f"{running.url}{URL}", tiff)
        assert (problem["status"], problem["reason"]) == (500, "INTERNAL")
        assert "NoneType" not in json.dumps(problem)


async def test_who_leaves_ends_the_work(serve: Serve, tiff: bytes):
    async with serve() as running:
        running.backend.pause_s = 60
        reader, writer = await running.connect()
        head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nAccept: {LINES}\r\nContent-Length: {len(tiff)}\r\n\r\n"
        writer.write(head.encode() + tiff)
        await asyncio.wait_for(reader.readuntil(b'"stage": "inference"'), 5)
        writer.close()
        await until(lambda: running.in_flight() == running.in_flight("pixels") == 0, 1)
        assert running.backend.cancelled > 0
        assert running.answered("POST /v1/segment", "CANCELLED") == 1
