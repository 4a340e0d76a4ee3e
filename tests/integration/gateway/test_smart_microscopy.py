"""`examples/smart_microscopy.py`: run as its users run it, against a real gateway."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cellserve
import grpc
import numpy as np
import pytest
from cellserve.testing.service import refusing
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from tests.unit.client.scripted_server import Service, failure, start, unpack

PROGRAM = Path(__file__).parents[3] / "examples" / "smart_microscopy.py"
PLACE = r" *x (-?\d+\.\d), y (-?\d+\.\d) µm"
COUNTED = re.compile(PLACE + r" +(\d+) cells +\d+ ms from snap to answer")
FAILED = re.compile(PLACE + r" +not counted: (.*)")
SCANNED = re.compile(r"Most cells of the scan: (\d+) at" + PLACE + r"\. A finer grid around this position follows\.")
STOPPED = re.compile(r"The stage is at" + PLACE + r": (\d+) cells, the most of (\d+) positions\.")
SCAN = {(x, y) for x in (-249.6, -83.2, 83.2, 249.6) for y in (-249.6, -83.2, 83.2, 249.6)}
"""Positions of 4 x 4 frames side by side, each of 512 px of 0.325 µm."""

Relayed = Callable[..., tuple["Relay", subprocess.CompletedProcess[str]]]


class Relay(Service):
    """Hands every request on to a real gateway, after the failures that it was told of. Keeps the requests."""

    def __init__(self, gateway: str, *failures) -> None:
        super().__init__(*failures)
        self.channel = grpc.insecure_channel(gateway)
        self.gateway = segmentation_pb2_grpc.SegmentationServiceStub(self.channel)

    def Segment(self, request, context):
        with refusing(context):
            self.receive(request, context)
        return self.gateway.Segment(request)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def relayed(gateway) -> Iterator[Relayed]:
    """Runs the program against a relay to the gateway. Returns the relay and the ended program."""
    servers = []

    def run(*failures) -> tuple[Relay, subprocess.CompletedProcess[str]]:
        relay = Relay(gateway.address, *failures)
        server, _, port = start(relay)
        servers.append((server, relay.channel))
        environment = os.environ | {"CELLSERVE_ADDRESS": f"127.0.0.1:{port}", "PYMM_LOG_FILE": "0"}
        command = [sys.executable, PROGRAM]
        return relay, subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120
        )

    yield run
    for server, channel in servers:
        server.stop(None)
        channel.close()


def of_lines(pattern: re.Pattern[str], lines: list[str]) -> list[tuple[str, ...]]:
    return [match.groups() for line in lines if (match := pattern.fullmatch(line))]


def around(x: float, y: float) -> set[tuple[float, float]]:
    """Positions of 3 x 3 frames that overlap by half."""
    return {(round(x + i * 83.2, 1), round(y + j * 83.2, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)}


def test_the_stage_ends_where_most_cells_are(relayed, gateway, example):
    relay, done = relayed()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    counted = [((float(x), float(y)), int(cells)) for x, y, cells in of_lines(COUNTED, lines)]
    scan, finer = dict(counted[:16]), dict(counted[16:])
    assert scan.keys() == SCAN
    best = max(scan, key=scan.__getitem__)
    assert of_lines(SCANNED, lines) == [(str(scan[best]), *map(str, best))]
    assert finer.keys() == around(*best)
    cells = scan | finer
    best = max(cells, key=cells.__getitem__)
    assert of_lines(STOPPED, lines) == [(*map(str, best), str(cells[best]), "24")]
    assert len(lines) == 16 + 1 + 9 + 1
    assert cells[best] > scan[max(scan, key=scan.__getitem__)], "the finer grid found a better place"

    assert [request.priority for request in relay.requests] == [pb.PRIORITY_ACQUISITION] * 25

    # The numbers are those of the specimen at these positions.
    specimen = example.specimen()

    def part(position: tuple[float, float]) -> np.ndarray:
        left, top = (round(along / 0.325) + size // 2 - 256 for along, size in zip(position, (2784, 2600), strict=True))
        return specimen[top : top + 512, left : left + 512]

    sent = {unpack(request.image.raw.pixels).tobytes() for request in relay.requests}
    assert sent == {part(position).tobytes() for position in cells}
    with cellserve.Client(gateway.address) as client, ThreadPoolExecutor(4) as pool:
        options = {"diameter": 9.4 / 0.325, "normalization": "range:2,70", "ensemble": False}
        results = pool.map(lambda at: client.segment(part(at), **options), cells)
        assert {at: len(result.objects) for at, result in zip(cells, results, strict=True)} == cells


BROKEN = failure(grpc.StatusCode.INTERNAL, "something broke", "INTERNAL")


def test_a_frame_that_fails_does_not_end_the_acquisition(relayed):
    relay, done = relayed(BROKEN)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    ((x, y, message),) = of_lines(FAILED, lines)
    assert (float(x), float(y)) in SCAN
    assert message.startswith("something broke [INTERNAL, request ")
    assert len(of_lines(COUNTED, lines)) == 24
    assert len(of_lines(STOPPED, lines)) == 1
    assert len(relay.requests) == 25


def test_the_stage_stays_where_no_frame_is_answered(relayed):
    relay, done = relayed(*[BROKEN] * 16)
    assert done.returncode == 1
    assert len(of_lines(FAILED, done.stdout.splitlines())) == len(relay.requests) == 16
    assert done.stderr == "No cells were found in the scan, so there is no place to look closer. The stage stays.\n"
