"""Real gateways on the suite's real Tritons, raw stubs to talk to them, and the example images.

`gateway` and `stub` serve the tiny networks. `slow_gateway` serves the tiny networks at a stated speed. `guarded`
serves the tiny networks to callers with a token, over TLS. `generalist_gateway` and `generalist_stub` serve the trained
networks. See tests/integration/conftest.py.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cellserve
import grpc
import imagecodecs
import numpy as np
import pytest
import trustme
from cellserve_proto.v1 import segmentation_pb2_grpc

from devtools import stack

from .certified import wait_ready, write_certificate
from .programs import NUCLEI

TOKEN = "a-token-of-some-length"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Gateway:
    address: str
    health: str
    monitoring: str
    log: Path
    process: stack.Process
    http: str = ""


@pytest.fixture(scope="session")
def start_gateway(tiny_repository, tmp_path_factory) -> Iterator[Callable[..., Gateway]]:
    """Starts further gateways, with settings of their own, for the tiny networks unless told otherwise.

    All are stopped at the end.
    """
    started: list[stack.Process] = []

    def start(triton: str, *, serving: bool = True, **settings: object) -> Gateway:
        directory = tmp_path_factory.mktemp("gateway")
        process = stack.start_gateway(directory, triton, **{"model_repository": tiny_repository} | settings)
        started.append(process)
        at = process.wait_ready()
        if serving:
            stack.wait_serving(at["grpc"])
        return Gateway(at["grpc"], at["health"], at["monitoring"], process.log, process, at.get("http", ""))

    yield start
    with ThreadPoolExecutor(len(started) or 1) as pool:  # all at once: each takes its time
        list(pool.map(stack.Process.stop, started))


@pytest.fixture(scope="session")
def gateway(triton, start_gateway) -> Gateway:
    """A gateway of small limits, so that the tests of the limits are quick."""
    return start_gateway(triton.grpc, max_image_pixels=4_000_000, max_image_bytes=16_000_000, max_tiles=500)


@pytest.fixture(scope="session")
def slow_gateway(slow_triton, start_gateway) -> Gateway:
    """A gateway on `slow_triton`."""
    return start_gateway(slow_triton.grpc)


@pytest.fixture(scope="session")
def guarded(triton, start_gateway, tmp_path_factory) -> tuple[Gateway, dict[str, str]]:
    """A gateway of small messages with TLS and tokens, and the environment of a caller that it lets in."""
    folder = tmp_path_factory.mktemp("secrets")
    authority = trustme.CA()
    write_certificate(folder, authority)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "tokens").write_text(f"alice {TOKEN}\n")
    gateway = start_gateway(
        triton.grpc,
        serving=False,
        tls_certificate=folder / "tls.crt",
        tls_key=folder / "tls.key",
        tokens_file=folder / "tokens",
        max_message_bytes=2 << 20,
    )
    wait_ready(gateway)
    return gateway, {
        # Node warns of certificates for addresses.
        "CELLSERVE_ADDRESS": gateway.address.replace("127.0.0.1", "localhost"),
        "CELLSERVE_HTTP_URL": f"https://{gateway.http}",
        "CELLSERVE_TOKEN": TOKEN,
        "CELLSERVE_CA": str(folder / "ca.crt"),
    }


@pytest.fixture(scope="session")
def expected(guarded) -> np.ndarray:
    """The label image of `NUCLEI`, as the Python client gets it from `guarded`."""
    gateway, environment = guarded
    credentials = grpc.ssl_channel_credentials(Path(environment["CELLSERVE_CA"]).read_bytes())
    metadata = [("authorization", f"Bearer {TOKEN}")]
    with cellserve.Client(gateway.address, credentials=credentials, metadata=metadata) as client:
        return client.segment(NUCLEI).labels


@pytest.fixture(scope="session")
def generalist_gateway(generalist_triton, start_gateway) -> Gateway:
    """A gateway of the trained networks."""
    return start_gateway(generalist_triton.grpc, model_repository=generalist_triton.repository)


@pytest.fixture(scope="session")
def stub(gateway) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    """Calls `gateway`."""
    with grpc.insecure_channel(gateway.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="session")
def generalist_stub(generalist_gateway) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    """Calls `generalist_gateway`."""
    with grpc.insecure_channel(generalist_gateway.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="session")
def image(request) -> Callable[[str], np.ndarray]:
    folder = request.config.rootpath / "examples" / "images"
    return lambda name: imagecodecs.imread(folder / f"{name}.png")


@pytest.fixture(scope="session")
def truth(request) -> Callable[[str], np.ndarray]:
    folder = request.config.rootpath / "tests" / "data"
    return lambda name: imagecodecs.imread(folder / f"{name}_masks.png")


@pytest.fixture(scope="session")
def scrape() -> Callable[[Gateway], dict[str, float]]:
    """Reads a gateway's metrics: sample name with its labels -> value."""

    def read(gateway: Gateway) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{gateway.monitoring}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    return read


@pytest.fixture(scope="session")
def in_flight(scrape) -> Callable[[Gateway], dict[str, float]]:
    """Reads what a gateway has in flight."""
    return lambda gateway: {
        what: scrape(gateway)[f'cellserve_in_flight{{resource="{what}"}}'] for what in ("requests", "pixels", "bytes")
    }
