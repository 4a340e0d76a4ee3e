"""A real gateway on the suite's real Triton, raw stubs to talk to it, and the example images."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import imagecodecs
import numpy as np
import pytest
from cellserve_proto.v1 import segmentation_pb2_grpc

from devtools import stack

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Gateway:
    address: str
    health: str
    monitoring: str
    log: Path
    process: stack.Process


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory) -> Iterator[Callable[..., Gateway]]:
    """Starts further gateways, with settings of their own; all are stopped at the end."""
    started: list[stack.Process] = []

    def start(triton: str, *, serving: bool = True, **settings: object) -> Gateway:
        directory = tmp_path_factory.mktemp("gateway")
        process = stack.start_gateway(directory, triton, **settings)
        started.append(process)
        at = process.wait_ready()
        if serving:
            stack.wait_serving(at["grpc"])
        return Gateway(at["grpc"], at["health"], at["monitoring"], process.log, process)

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def gateway(triton, start_gateway) -> Gateway:
    # Small limits, so that the tests of the limits are quick.
    return start_gateway(triton.grpc, max_image_pixels=4_000_000, max_image_bytes=16_000_000, max_tiles=500)


@pytest.fixture(scope="session")
def stub(gateway) -> Iterator[segmentation_pb2_grpc.SegmentationServiceStub]:
    with grpc.insecure_channel(gateway.address, UNLIMITED) as channel:
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
