"""Hostile image files at a real gateway: each ends in time with its reason, and others do not notice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from tests.processes import below, resident

from .conftest import UNLIMITED
from .hostile import files
from .messages import FAST, error_info, raw

MIB = 1 << 20
SLOW = files.jpeg_in_tiff(2048, 10_000)
"""Takes a minute."""
OTHERS = (
    "OME-XML, SizeX and SizeY",
    "SCN-XML, channels",
    "TIFF, 40 pages of 26,000 strips",
    "PNG, 1,000 iCCP of 8 MB",
    "TIFF, LZMA with a dictionary of 1.5 GiB",
)


@pytest.fixture(scope="module")
def target(triton, start_gateway):
    """A gateway of two threads, whose drain takes a second."""
    return start_gateway(triton.grpc, worker_threads=2, drain_s=1, decode_s=2, log_level="debug")


@pytest.fixture(scope="module")
def stub(target):
    with grpc.insecure_channel(target.address, UNLIMITED) as channel:
        yield segmentation_pb2_grpc.SegmentationServiceStub(channel)


@pytest.fixture(scope="module")
def plain(image) -> tuple[pb.SegmentRequest, pb.SegmentRequest]:
    """An image as an array and as a file."""
    pixels = image("nuclei_fluorescence")[:200, :200].copy()
    file = pb.Image(encoded=pb.EncodedImage(format=pb.EncodedImage.FORMAT_TIFF, data=files.tiff(pixels)))
    return pb.SegmentRequest(image=raw(pixels), params=FAST), pb.SegmentRequest(image=file, params=FAST)


def request(data: bytes) -> pb.SegmentRequest:
    kind = pb.EncodedImage.FORMAT_PNG if data[:4] == b"\x89PNG" else pb.EncodedImage.FORMAT_TIFF
    return pb.SegmentRequest(image=pb.Image(encoded=pb.EncodedImage(format=kind, data=data)), params=FAST)


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error_info(error.value).reason


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_slow_files_end_and_others_go_on(target, stub, plain):
    before = resident(target.process.pid)
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(reason, lambda: stub.Segment(request(SLOW))) for _ in range(2)]
        until(lambda: len(below(target.process.pid)) >= 4)  # the helper, two files, and one that waits
        for ordinary in plain:
            assert len(stub.Segment(ordinary, timeout=20).objects) > 5
        assert not any(call.done() for call in slow), "the files were at work all the time"
        assert {call.result(timeout=200) for call in slow} == {"IMAGE_UNDECODABLE"}
    assert resident(target.process.pid) < before + 150 * MIB


@pytest.mark.parametrize("name", OTHERS)
def test_files_that_are_refused_or_read(target, stub, name):
    data = files.FILES[name]()
    start = time.monotonic()
    try:
        stub.Segment(request(data), timeout=60)
    except grpc.RpcError as error:
        assert error_info(error).reason in ("IMAGE_TOO_LARGE", "IMAGE_UNDECODABLE", "AXES_UNKNOWN")
    assert time.monotonic() - start < 20, "seconds on a quiet machine"
    answer = httpx.post(f"http://{target.http}/v1/segment?diameter=30", content=data, timeout=60)
    assert answer.status_code in (200, 400, 413)


def test_a_caller_that_leaves_ends_the_work(target, stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Segment(request(SLOW), timeout=0.5)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: len(below(target.process.pid)) == 2, 3)  # the helper, and the one that waits


def test_the_end_is_in_time_and_leaves_nothing(target, stub):
    with ThreadPoolExecutor(2) as pool:
        slow: list[Future[object]] = [pool.submit(stub.Segment, request(SLOW)) for _ in range(2)]
        until(lambda: len(below(target.process.pid)) >= 4)
        processes = below(target.process.pid)
        start = time.monotonic()
        target.process._popen.send_signal(signal.SIGTERM)
        assert target.process._popen.wait(30) == 0
        assert time.monotonic() - start < 10
        assert all(call.exception() for call in slow)
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes), 3)


def test_every_line_of_the_log_is_json(target):
    """After all tests above."""
    lines = target.log.read_text().splitlines()
    assert len(lines) > 10
    for line in lines:
        json.loads(line)
    assert not np.any(["Traceback" in line for line in lines])
