import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import cellserve_postprocess
import httpx
import numpy as np
import pytest
import tifffile
from cellserve_gateway.access.certificates import CertificateFiles
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.families import Families
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.fronts.http.front import HttpFront
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings

from .backend import BrightRegions


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits until a condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is a number of the metrics
            await asyncio.sleep(0.01)


TOKEN = "a-token-of-a-caller-0123"


@dataclass
class Running:
    """A REST interface on a port of this machine."""

    front: HttpFront
    backend: BrightRegions
    admission: Admission
    metrics: Metrics
    url: str

    def in_flight(self, what: str = "bytes") -> int:
        return int(self.metrics.registry.get_sample_value("cellserve_in_flight", {"resource": what}) or 0)

    def answered(self, method: str, code: str) -> int:
        labels = {"method": method, "code": code}
        return int(self.metrics.registry.get_sample_value("cellserve_requests_total", labels) or 0)

    def connections(self, why: str) -> int:
        labels = {"port": "rest", "why": why}
        return int(self.metrics.registry.get_sample_value("cellserve_http_connections_ended_total", labels) or 0)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.front.port)

    async def slow_reader(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects with so small a receive buffer that an answer does not fit."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.front.port))
        return await asyncio.open_connection(sock=raw, limit=4096)


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Returns a context manager that runs a REST interface; arguments are settings."""
    cellserve_postprocess.warm_up()

    @contextlib.asynccontextmanager
    async def running(**changes: object) -> AsyncIterator[Running]:
        settings = Settings(http_port=0, model_repository=Path("model_repository"), worker_threads=2, **changes)
        metrics, backend = Metrics(), BrightRegions()
        instruments = Instruments(metrics, Tracing(None))
        workers, files = WorkerThreads(settings.worker_threads, 2), ImageFiles(settings)
        admission = Admission(settings, metrics)
        families = Families.load(settings.model_repository, settings.default_model)
        segmenter = Segmenter(settings, families, backend, workers, instruments, files)
        certificates = CertificateFiles.of(settings)
        front = HttpFront(settings, segmenter, admission, instruments, Tokens(settings.tokens_file), certificates)
        front.start()
        scheme = "https" if certificates else "http"
        try:
            yield Running(front, backend, admission, metrics, f"{scheme}://127.0.0.1:{front.port}")
        finally:
            await front.stop(1)
            workers.close()
            files.close()

    return running


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"microscope {TOKEN}\n")
    return path


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def disks() -> np.ndarray:
    """Returns an image of bright disks of 30 pixels on a dark ground, at drawn places; uint16 [260, 300]."""
    random = np.random.default_rng(21)
    image = np.zeros((260, 300), np.uint16)
    y, x = np.ogrid[:260, :300]
    for row in range(45, 230, 60):
        for column in range(45, 270, 60):
            at = row + random.integers(-8, 9), column + random.integers(-8, 9)
            image[np.hypot(y - at[0], x - at[1]) < 15] = 4000
    return image


@pytest.fixture(scope="session")
def tiff(disks: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, disks, resolution=(20000, 20000), resolutionunit="CENTIMETER", metadata={"axes": "YX"})
    return file.getvalue()
