"""No image is lost or wrong when a Triton leaves, when one of its models dies or stops, or when its weights change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from tests.integration import tiny
from tests.processes import below

from .fronts import disks
from .messages import FAST, error_info, raw
from .test_pool import tiles
from .test_triton_trouble import eventually

TILE_S = 0.03
IMAGE = np.tile(disks(12), (10, 1))[:500, :500]
REQUEST = pb.SegmentRequest(image=raw(IMAGE), params=FAST)


def model_process(triton, network: str) -> int:
    """Process id of a model."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in below(triton.server_pid)}
    (found,) = (pid for pid, line in lines.items() if f"/{network}/1/".encode() in line)
    return found


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def load(cleanup):
    """Sends images to a gateway, each once: no client repeats them."""
    pool = cleanup.enter_context(ThreadPoolExecutor(16))

    def send(gateway, images: int) -> list[Future[pb.SegmentResponse]]:
        channel = cleanup.enter_context(grpc.insecure_channel(gateway.address))
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        return [pool.submit(stub.Segment, REQUEST, timeout=120) for _ in range(images)]

    return send


@pytest.fixture
def start(cleanup, start_slow_triton):
    """Starts a Triton that takes `TILE_S` for a tile."""

    def start(*options: str, **settings):
        triton = start_slow_triton(*options, tile_s=TILE_S, **settings)
        cleanup.callback(triton.stop)
        return triton

    return start


@pytest.fixture
def ready(scrape):
    return lambda gateway: scrape(gateway)['cellserve_triton_servers{state="ready"}']


def port(triton) -> tuple[str, str]:
    return "--grpc-port", triton.grpc.rpartition(":")[2]


def test_images_outlast_the_only_triton(start, start_gateway, load, cleanup):
    """It shuts down with images in work, and unloads their network: they wait for the next one."""
    first = start()
    gateway = start_gateway(first.grpc)
    cleanup.callback(gateway.process.stop)
    expected = load(gateway, 1)[0].result().labels
    answers = load(gateway, 12)
    time.sleep(0.5)
    assert first.stop() == 0
    assert sum(answer.done() for answer in answers) < 12
    late = load(gateway, 1)[0].exception()  # no work was done for it
    assert late.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(late).reason == "TRITON_UNAVAILABLE"
    start(*port(first))
    assert all(answer.result().labels == expected for answer in answers)


def test_a_dead_or_stopped_model_costs_no_image(start, start_gateway, load, cleanup, ready):
    """Triton says that it is ready all the while. Its launcher, which would end it, is stopped."""
    sick, well = start(), start()
    gateway = start_gateway(f"{sick.grpc},{well.grpc}")
    cleanup.callback(gateway.process.stop)
    assert eventually(lambda: ready(gateway) == 2)
    expected = load(gateway, 1)[0].result().labels

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        cleanup.callback(lambda: Path(f"/proc/{pid}").exists() and os.kill(pid, signal.SIGCONT))

    # One dies with tiles in it. The others take them, and it is left out although it says that it is ready.
    stop(sick.process.pid)
    answers = load(gateway, 12)
    time.sleep(0.3)
    os.kill(model_process(sick, "generalist_single"), signal.SIGKILL)
    assert all(answer.result().labels == expected for answer in answers)
    assert eventually(lambda: ready(gateway) == 1)
    before = tiles(sick)
    time.sleep(3)
    assert all(answer.result().labels == expected for answer in load(gateway, 6))
    assert (ready(gateway), tiles(sick)) == (1, before)

    # Its launcher notices; another one takes its place.
    os.kill(sick.process.pid, signal.SIGCONT)
    assert eventually(lambda: sick.process._popen.poll() is not None)
    again = start(*port(sick))
    assert eventually(lambda: ready(gateway) == 2)
    assert all(answer.result().labels == expected for answer in load(gateway, 6))
    assert tiles(again) > 0

    # One stops and says nothing. When it goes on, it ends: Triton may have given it up, and used its memory again.
    stopped = model_process(well, "generalist_single")
    answers = load(gateway, 12)
    time.sleep(0.3)
    stop(stopped)
    assert all(answer.result().labels == expected for answer in answers)
    assert eventually(lambda: load(gateway, 1)[0].result().labels == expected and ready(gateway) == 1)
    os.kill(stopped, signal.SIGCONT)
    assert eventually(lambda: well.process._popen.poll() is not None)


def test_the_only_model_is_dead(start, start_gateway, load, cleanup, ready):
    """Callers are told to come again, not that something unforeseen happened."""
    triton = start()
    gateway = start_gateway(triton.grpc)
    cleanup.callback(gateway.process.stop)
    os.kill(triton.process.pid, signal.SIGSTOP)
    cleanup.callback(os.kill, triton.process.pid, signal.SIGCONT)
    os.kill(model_process(triton, "generalist_single"), signal.SIGKILL)
    with grpc.insecure_channel(gateway.address) as channel:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        for timeout_s in (2, None):  # the first one finds out, and waits; the second one is refused at once
            begin = time.monotonic()
            with pytest.raises(grpc.RpcError) as caught:
                stub.Segment(REQUEST, timeout=timeout_s)
            assert time.monotonic() - begin < 2
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "TRITON_UNAVAILABLE"
    assert eventually(lambda: ready(gateway) == 0)
    assert re.search("generalist_single failed, .* is not healthy", gateway.log.read_text())


def other_weights(repository: Path, directory: Path) -> Path:
    """Copies a repository and changes the weights of the networks, so that they find other objects."""
    shutil.copytree(repository, directory)
    description = directory / "generalist" / "model.json"
    family = json.loads(description.read_text())
    for name, blur_px in tiny.BLUR_PX.items():
        content = tiny.graph(3 * blur_px).SerializeToString()
        (directory / name / "1" / "model.onnx").write_bytes(content)
        config = directory / name / "config.pbtxt"
        sha256 = hashlib.sha256(content).hexdigest()
        config.write_text(config.read_text().replace(family["networks"][name]["sha256"], sha256))
    return directory


def test_no_answer_of_other_weights(start, start_gateway, load, cleanup, ready, tiny_repository, tmp_path):
    """A Triton of other weights takes the address between two health probes, with images in work."""
    first = start()
    gateway = start_gateway(first.grpc, triton_probe_interval_s=6)
    cleanup.callback(gateway.process.stop)
    expected = load(gateway, 1)[0].result()
    answers = load(gateway, 6)
    time.sleep(0.3)
    os.kill(first.server_pid, signal.SIGKILL)
    first.stop()
    other = start(*port(first), repository=other_weights(tiny_repository, tmp_path / "other"))
    warm = tiles(other)
    for _ in range(20):
        refused = load(gateway, 1)[0].exception()
        assert error_info(refused).reason == "TRITON_UNAVAILABLE"
        time.sleep(0.1)
    assert eventually(lambda: "MODEL_MISMATCH" in gateway.log.read_text())
    assert tiles(other) == warm
    other.stop()
    start(*port(first))
    for answer in answers:
        assert answer.result().labels == expected.labels
        assert answer.result().model.sha256 == expected.model.sha256
