"""The monitoring port."""

import asyncio
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from cellserve_gateway.fronts.http import monitoring
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings


@pytest.fixture
async def ready() -> dict[str, bool]:
    return {"ready": False}


@pytest.fixture
async def port(ready: dict[str, bool]) -> AsyncIterator[int]:
    listener = monitoring.monitoring_listener(Settings(monitoring_port=0), Metrics(), lambda: ready["ready"])
    listener.start()
    yield listener.port
    await listener.stop(0)


async def test_pages(client: httpx.AsyncClient, port: int, ready: dict[str, bool]):
    async def get(path: str) -> tuple[int, str]:
        answer = await client.get(f"http://127.0.0.1:{port}{path}")
        return answer.status_code, answer.text

    assert await get("/livez") == (200, "ok\n")
    assert await get("/readyz") == (503, "not ready\n")
    ready["ready"] = True
    assert await get("/readyz") == (200, "ok\n")
    status, metrics = await get("/metrics")
    assert status == 200
    assert "cellserve_event_loop_delay_seconds_bucket" in metrics
    assert 'cellserve_http_connections_ended_total{port="monitoring",why="stalled"} 0.0' in metrics
    assert (await get("/else"))[0] == 404
    assert (await client.post(f"http://127.0.0.1:{port}/metrics")).status_code == 405


async def test_silent_connections_cost_no_thread_and_keep_no_probe_out(client: httpx.AsyncClient, port: int):
    threads = threading.active_count()
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * monitoring.MAX_CONNECTIONS)]
    assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
    assert threading.active_count() == threads
    await asyncio.sleep(0.2)
    open_ones = [reader for reader, _ in silent if not reader.at_eof() and reader.exception() is None]
    assert len(open_ones) < monitoring.MAX_CONNECTIONS
    for _, writer in silent:
        writer.close()


async def test_two_gateways_cannot_share_the_port(port: int):
    with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be bound"):
        monitoring.monitoring_listener(Settings(monitoring_port=port), Metrics(), lambda: True)
