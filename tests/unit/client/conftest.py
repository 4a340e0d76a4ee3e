"""Servers for the client to talk to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from cellserve import AsyncClient, Client

from . import scripted_server
from .scripted_server import Service


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers in this process: `serve(service)` returns the address."""
    servers: list[grpc.Server] = []

    def start(service: Service, credentials: grpc.ServerCredentials | None = None) -> str:
        server, _, port = scripted_server.start(service, credentials=credentials)
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def spawn() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts servers in processes of their own, to be killed: `spawn(port=0)` returns the process and the address."""
    processes: list[subprocess.Popen[str]] = []

    def start(port: int = 0) -> tuple[subprocess.Popen[str], str]:
        script = Path(__file__).with_name("scripted_server.py")
        process = subprocess.Popen([sys.executable, str(script), str(port)], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return process, f"127.0.0.1:{process.stdout.readline().strip()}"

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(serve, service) -> Iterator[Client]:
    with Client(serve(service)) as client:
        yield client


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """Three bright disks, uint16 [96, 128]."""
    y, x = np.mgrid[:96, :128]
    pixels = np.full((96, 128), 100, np.uint16)
    for centre_y, centre_x, radius in ((20, 20, 9), (60, 40, 15), (50, 100, 20)):
        pixels[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2] = 3000
    return pixels


class Waiting:
    """A synchronous client with the asynchronous one's calls, so that one test serves both."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def call(*args, **kwargs):
            return await asyncio.to_thread(method, *args, **kwargs)

        async def iterate(*args, **kwargs):
            results = method(*args, **kwargs)
            end = object()
            try:
                while (item := await asyncio.to_thread(next, results, end)) is not end:
                    yield item
            finally:
                await asyncio.to_thread(results.close)

        return iterate if name in ("segment_many", "segment_series", "segment_stream") else call


@pytest.fixture(params=["Client", "AsyncClient"])
async def either(request, serve, service):
    if request.param == "AsyncClient":
        async with AsyncClient(serve(service)) as client:
            yield client
    else:
        with Client(serve(service)) as client:
            yield Waiting(client)
