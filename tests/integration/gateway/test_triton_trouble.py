"""Triton down, late, gone and back: callers are told at once, and the gateway recovers by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .messages import FAST, error_info, raw

REQUEST = pb.SegmentRequest(image=raw(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), params=FAST)


def call(address: str, timeout_s: float | None = None) -> pb.SegmentResponse:
    with grpc.insecure_channel(address) as channel:
        return segmentation_pb2_grpc.SegmentationServiceStub(channel).Segment(REQUEST, timeout=timeout_s)


def ready(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def expect_refusal_at_once(address: str) -> None:
    start = time.perf_counter()
    with pytest.raises(grpc.RpcError) as error:
        call(address)
    assert time.perf_counter() - start < 2
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error.value).reason == "TRITON_UNAVAILABLE"


def eventually(condition, timeout_s: float = 30) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_no_triton_from_the_start(start_gateway):
    """The gateway lives and says so: not ready, and every request is refused at once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        gateway = start_gateway(f"127.0.0.1:{nobody.getsockname()[1]}", serving=False)
        assert not ready(gateway.address)
        expect_refusal_at_once(gateway.address)
        gateway.process.stop()


def test_triton_late_gone_and_back(start_triton, start_gateway):
    with contextlib.ExitStack() as cleanup:
        triton = start_triton()
        cleanup.callback(triton.stop)
        server = triton.server_pid
        gateway = start_gateway(triton.grpc)
        cleanup.callback(gateway.process.stop)
        assert call(gateway.address).timing.tiles == 1

        # Late: a stopped server holds the connection and never answers. The caller hears of it before its deadline.
        os.kill(server, signal.SIGSTOP)
        try:
            start = time.perf_counter()
            with pytest.raises(grpc.RpcError) as error:
                call(gateway.address, timeout_s=2)
            seconds = time.perf_counter() - start
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert error_info(error.value).reason == "DEADLINE_EXCEEDED", "the gateway's answer, not the caller's clock"
            assert 1.5 < seconds < 2.0
            assert eventually(lambda: not ready(gateway.address))
        finally:
            os.kill(server, signal.SIGCONT)
        assert eventually(lambda: ready(gateway.address))
        assert call(gateway.address).timing.tiles == 1

        # Gone: refused at once.
        os.kill(server, signal.SIGKILL)
        triton.stop()
        expect_refusal_at_once(gateway.address)
        assert eventually(lambda: not ready(gateway.address))

        # Back on the same address: serving again without a restart of the gateway.
        again = start_triton("--grpc-port", triton.grpc.rsplit(":", 1)[1])
        cleanup.callback(again.stop)
        assert eventually(lambda: ready(gateway.address))
        assert call(gateway.address).timing.tiles == 1
