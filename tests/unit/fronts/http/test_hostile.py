"""Callers that are silent, slow, greedy or wrong: each is ended in time, and holds no more than was reserved."""

import asyncio
import io
import json
import resource
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from cellserve_gateway.fronts.http.connections import Connection, Connections, Receive, Scope, Send
from cellserve_gateway.fronts.http.listener import HttpListener
from cellserve_gateway.ops.metrics import Metrics

from .conftest import TOKEN, Running, Serve, until

IDLE_S, STALL_S = 0.6, 0.8
SLACK_S = 2.0
REFUSED = 50 << 20
QUICK = {"http_idle_s": IDLE_S, "http_stall_s": STALL_S}


async def ended_after(reader: asyncio.StreamReader) -> tuple[float, bytes]:
    start = time.perf_counter()
    received = bytearray()
    async with asyncio.timeout(20):
        try:
            while data := await reader.read(1 << 16):
                received += data
        except ConnectionError:
            pass
    return time.perf_counter() - start, bytes(received)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nX-", b"\r\n"])
async def test_silence_before_a_request_ends(serve: Serve, sent: bytes):
    async with serve(**QUICK) as running:
        reader, writer = await running.connect()
        writer.write(sent)
        seconds, received = await ended_after(reader)
        assert IDLE_S * 0.9 < seconds < IDLE_S + SLACK_S
        assert received == b""
        assert running.connections("idle") == 1


async def test_a_dripping_header_ends(serve: Serve):
    """Bytes do not extend the time for a header."""
    async with serve(**QUICK) as running:
        reader, writer = await running.connect()

        async def drip() -> None:
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        seconds, _ = await ended_after(reader)
        dripping.cancel()
        assert seconds < IDLE_S + SLACK_S


async def test_an_endless_header_ends(serve: Serve):
    async with serve(http_idle_s=30) as running:
        _, writer = await running.connect()
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Long: ")
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(2000):
                writer.write(bytes([97]) * 10_000)
                sent += 10_000
                await writer.drain()
        assert sent < 10_000_000


async def test_a_pipelined_endless_header_ends(serve: Serve, tiff: bytes):
    """A second header cannot grow while the first request is in work."""
    async with serve(http_idle_s=30) as running:
        running.backend.pause_s = 10
        _, writer = await running.connect()
        head = f"POST /v1/segment?diameter=30 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(tiff)}\r\n\r\n"
        writer.write(head.encode() + tiff + b"GET /v1/models HTTP/1.1\r\nX-Long: ")
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(2000):
                writer.write(bytes([97]) * 10_000)
                sent += 10_000
                await writer.drain()
        assert sent < 10_000_000


async def test_idle_between_requests_ends_and_pipelined_requests_do_not(serve: Serve):
    async with serve(**QUICK) as running:
        reader, writer = await running.connect()
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        seconds, received = await ended_after(reader)
        assert received.count(b"HTTP/1.1 200 OK") == 3
        assert IDLE_S * 0.9 < seconds < IDLE_S + SLACK_S


async def test_half_a_body_ends(serve: Serve):
    async with serve(http_idle_s=30, http_stall_s=STALL_S) as running:
        reader, writer = await running.connect()
        writer.write(b"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 408")
        assert running.connections("stalled") == 1
        await until(lambda: not running.in_flight(), 5)


async def test_a_dripping_body_ends_at_the_deadline(serve: Serve):
    async with serve(http_stall_s=STALL_S) as running:
        reader, writer = await running.connect()
        writer.write(b"POST /v1/segment?deadline_s=1.5 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        start = time.perf_counter()
        while not running.answered("POST /v1/segment", "DEADLINE_EXCEEDED"):
            writer.write(b"a")
            await asyncio.sleep(0.05)
            assert time.perf_counter() - start < 10
        assert (await reader.readline()).startswith(b"HTTP/1.1 504")


async def test_an_answer_that_nobody_reads_is_held_and_then_dropped(serve: Serve):
    """The reservation lasts until the answer has left; a caller that does not read loses its connection."""
    noise = np.random.default_rng(5).integers(0, 256, (2000, 2000, 3), np.uint8)  # its overlay cannot be compressed
    file = io.BytesIO()
    tifffile.imwrite(file, noise, photometric="rgb")
    body = file.getvalue()
    async with serve(http_stall_s=2.0) as running:
        _, writer = await running.slow_reader()
        head = (
            "POST /v1/segment?diameter=60&normalization=range:0,100000&view=overlay HTTP/1.1\r\n"
            f"Host: a\r\nAccept: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.transport.pause_reading()
        writer.write(head.encode() + body)
        await until(
            lambda: running.metrics.registry.get_sample_value("cellserve_stage_seconds_count", {"stage": "encode"}), 120
        )
        await asyncio.sleep(1.0)
        assert running.in_flight("requests") == 1
        assert running.in_flight("bytes") > 0
        assert running.in_flight("pixels") == 0
        await until(lambda: not running.in_flight("requests"), 10)
        assert running.in_flight("bytes") == 0
        assert running.answered("POST /v1/segment", "CANCELLED") == 1


async def test_the_last_byte_of_an_answer_is_waited_for():
    """A front holds the reservation of an answer until its call of the application returns."""
    returned = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", str(REFUSED).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": bytes(REFUSED)})
        returned.set()

    listener = HttpListener(app, "127.0.0.1", 0, Connections("rest", Metrics(), 4, 30, 30))
    listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=4096)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.3)
    assert not returned.is_set()
    await reader.readexactly(REFUSED)
    await asyncio.wait_for(returned.wait(), 5)
    writer.close()
    await listener.stop(1)


async def test_a_body_that_comes_before_its_task_runs_is_not_greedy():
    """TLS hands over what came behind the handshake in one step of the loop."""
    body = b"a" * 100_000
    received = bytearray()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            received.extend(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def in_one_step(connection: Connection) -> None:
        connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + body[:70_000])
        connection.data_received(body[70_000:])

    connections = Connections("http", Metrics(), limit=4, idle_s=5, stall_s=5)
    listener = HttpListener(app, "127.0.0.1", 0, connections)
    listener.start()
    await until(lambda: listener._server.started)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await until(lambda: connections.idle)
    in_one_step(next(iter(connections.idle)))
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
    assert received == body
    writer.close()
    await listener.stop(1)


async def test_silent_connections_make_room(serve: Serve):
    """A flood of silent connections takes only the limit, and does not keep a caller out."""
    async with serve(http_max_connections=8, http_idle_s=30) as running:
        silent = [await running.connect() for _ in range(40)]
        await asyncio.sleep(0.3)
        gone = sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent)
        assert gone >= 32
        assert running.connections("replaced") == 32
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{running.url}/v1/models")).status_code == 200
        for _, writer in silent:
            writer.close()


async def test_many_connections_at_once_are_accepted(serve: Serve):
    """The kernel drops connections beyond the backlog, and their callers would wait for nothing."""
    async with serve(http_idle_s=30) as running:
        await asyncio.sleep(0.2)
        address = "127.0.0.1", running.front.port
        together = [socket.create_connection(address, timeout=0.8) for _ in range(300)]  # the event loop stands still
        await until(lambda: running.connections("replaced") == 300 - 256)
        for one in together:
            one.close()


async def test_connections_in_work_are_not_replaced(serve: Serve, tiff: bytes):
    async with serve(http_max_connections=2) as running:
        running.backend.pause_s = 2
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{running.url}/v1/segment?diameter=30"
            working = [asyncio.create_task(client.post(url, content=tiff)) for _ in range(2)]
            await until(lambda: running.in_flight("requests") == 2, 10)
            reader, _ = await running.connect()
            assert (await ended_after(reader))[0] < 1
            assert running.connections("refused") == 1
            assert [answer.status_code for answer in await asyncio.gather(*working)] == [200, 200]


async def refused(
    running: Running, headers: str, path: str = "/v1/segment"
) -> tuple[str, dict[str, object], dict[str, str]]:
    """Sends a header that declares 50 MiB and waits for the answer, without a byte of the body."""
    reader, writer = await running.connect()
    writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
    async with asyncio.timeout(5):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        found = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(found["content-length"]))
    writer.close()
    return status.split(" ")[1], json.loads(body), found


@pytest.mark.parametrize(
    ("settings", "headers", "path", "status", "reason"),
    [
        ({}, f"Content-Length: {REFUSED}\r\n", "/v1/segment", "401", "TOKEN_MISSING"),
        ({}, f"Authorization: Bearer wrong\r\nContent-Length: {REFUSED}\r\n", "/v1/segment", "401", "TOKEN_UNKNOWN"),
        ({}, f"Authorization: Bearer wrong\r\nContent-Length: {REFUSED}\r\n", "/v1/diameter", "401", "TOKEN_UNKNOWN"),
        (
            {"max_transfer_bytes": 10 << 20},
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {REFUSED}\r\n",
            "/v1/segment",
            "413",
            "IMAGE_TOO_LARGE",
        ),
        ({}, f"Authorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n", "/v1/segment", "411", "FIELD_INVALID"),
        (
            {},
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {REFUSED}\r\n",
            "/v1/segment?diametre=30",
            "400",
            "FIELD_INVALID",
        ),
        (
            {},
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {REFUSED}\r\nAccept: text/html\r\n",
            "/v1/segment",
            "406",
            "FIELD_INVALID",
        ),
    ],
)
async def test_refused_before_the_body(
    serve: Serve,
    tokens_file: Path,
    settings: dict[str, int],
    headers: str,
    path: str,
    status: str,
    reason: str,
):
    async with serve(tokens_file=tokens_file, **settings) as running:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found, problem, answered = await refused(running, headers, path)
        assert (found, problem["reason"]) == (status, reason)
        assert answered["content-type"] == "application/problem+json"
        assert answered["x-request-id"] == problem["request_id"]
        assert problem["type"] == f"/docs#{reason}"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 << 10
        assert running.in_flight() == 0
        if status == "401":
            assert answered["www-authenticate"] == "bearer"
        if "diametre" in path:
            assert problem["metadata"] == {"field": "diametre", "nearest": "diameter"}


async def test_declared_bodies_are_reserved_before_they_come(serve: Serve):
    """The second of two bodies that do not fit together is refused by its header alone."""
    async with serve(max_bytes_in_flight=80 << 20) as running:
        _, first = await running.connect()
        first.write(f"POST /v1/segment HTTP/1.1\r\nHost: a\r\nContent-Length: {REFUSED}\r\n\r\n".encode())
        await until(lambda: running.in_flight() == REFUSED, 5)
        status, problem, headers = await refused(running, f"Content-Length: {REFUSED}\r\n")
        assert (status, problem["reason"], problem["metadata"]["resource"]) == ("429", "GATEWAY_FULL", "bytes")
        assert (problem["retry_after_s"], headers["retry-after"]) == (1.0, "1")
        first.close()
        await until(lambda: not running.in_flight(), 5)
