"""The process: health, reflection, metrics, logs, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from .conftest import UNLIMITED
from .messages import FAST, raw

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status


@pytest.mark.parametrize("service", ["", "liveness", "cellserve.v1.SegmentationService"])
def test_health(gateway, service):
    assert health(gateway.address, service) == SERVING


def test_reflection(gateway):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(gateway.address) as channel:
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    names = {service.name for service in answer.list_services_response.service}
    assert {"cellserve.v1.SegmentationService", "grpc.health.v1.Health"} <= names


def test_metrics_count(gateway, stub, scrape, image):
    before = scrape(gateway)
    pixels = image("nuclei_fluorescence")[:300, :300].copy()
    response = stub.Segment(pb.SegmentRequest(image=raw(pixels), params=FAST))
    with pytest.raises(grpc.RpcError):
        stub.Segment(pb.SegmentRequest())
    after = scrape(gateway)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('cellserve_requests_total{code="OK",method="Segment"}') == 1
    assert grown('cellserve_errors_total{method="Segment",reason="IMAGE_EMPTY"}') == 1
    assert grown('cellserve_tiles_total{network="generalist_single"}') == response.timing.tiles == 4
    assert grown("cellserve_pixels_total") == 300 * 300
    assert grown("cellserve_objects_total") == len(response.objects) > 0
    assert grown('cellserve_request_seconds_count{method="Segment"}') == 2
    for stage in ("decode", "preprocess", "rescale", "inference", "reassemble", "postprocess", "encode"):
        assert grown(f'cellserve_stage_seconds_count{{stage="{stage}"}}') >= 1
    assert after["cellserve_ready"] == 1
    assert after['cellserve_in_flight{resource="requests"}'] == 0


def test_log_lines_carry_the_request_id(gateway, stub):
    with pytest.raises(grpc.RpcError):
        stub.Segment(pb.SegmentRequest(request_id="find-me"))
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "find-me"]
    assert (line["event"], line["method"], line["code"]) == ("call", "Segment", "INVALID_ARGUMENT")
    assert (line["reason"], line["level"]) == ("IMAGE_EMPTY", "info")
    assert line["seconds"] >= 0


def test_acquisition_overtakes_a_backlog(slow_gateway, image):
    """One tile from a microscope is answered while thirty images of a batch wait."""
    whole = image("nuclei_fluorescence")
    batch = pb.SegmentRequest(image=raw(whole[:400, :400].copy()), params=FAST)
    urgent = pb.SegmentRequest(image=raw(whole[:200, :200].copy()), params=FAST, priority=pb.PRIORITY_ACQUISITION)
    with grpc.insecure_channel(slow_gateway.address, UNLIMITED) as channel, ThreadPoolExecutor(30) as pool:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        backlog = [pool.submit(stub.Segment, batch) for _ in range(30)]
        time.sleep(0.5)
        stub.Segment(urgent)
        waiting = sum(not future.done() for future in backlog)
        assert all(len(future.result(timeout=120).objects) > 10 for future in backlog)
    assert waiting >= 15


def test_sigterm_finishes_what_runs(slow_triton, start_gateway, image):
    """No image that was accepted is lost: readiness falls, running work is answered, the process ends with 0."""
    leaving = start_gateway(slow_triton.grpc, drain_delay_s=0.5)
    pixels = image("nuclei_fluorescence")
    with grpc.insecure_channel(leaving.address, UNLIMITED) as channel, ThreadPoolExecutor() as pool:
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)
        request = pb.SegmentRequest(image=raw(pixels), params=FAST)
        running = [pool.submit(stub.Segment, request) for _ in range(3)]
        time.sleep(0.3)
        leaving.process._popen.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert health(leaving.address, "") == NOT_SERVING
        assert health(leaving.address, "liveness") == SERVING
        assert all(len(future.result(timeout=60).objects) > 50 for future in running)
        assert leaving.process._popen.wait(30) == 0
        with pytest.raises(grpc.RpcError) as error:
            stub.Segment(pb.SegmentRequest(image=raw(np.zeros((4, 4), np.uint8))))
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("PORT", "no", "port"),
        ("MODEL_REPOSITORY", "/nowhere", "CELLSERVE_MODEL_REPOSITORY"),
        ("DEFAULT_MODEL", "nobody", "nobody"),
        ("HOST", "256.0.0.1", "256.0.0.1"),
        ("LOG_LEVLE", "info", "the nearest is CELLSERVE_LOG_LEVEL"),
    ],
)
def test_wrong_settings_are_told_in_a_line(request, monkeypatch, setting, value, text):
    monkeypatch.setenv("CELLSERVE_PORT", "0")
    monkeypatch.setenv("CELLSERVE_MONITORING_PORT", "0")
    monkeypatch.setenv(f"CELLSERVE_{setting}", value)
    command = [sys.executable, "-m", "cellserve_gateway"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=request.config.rootpath, check=False
    )
    assert result.returncode == 1
    assert text in result.stderr
    assert "Traceback" not in result.stderr
