"""Several Tritons behind one name: tiles go to all, to new ones too, and none is lost with one that dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from devtools import stack
from devtools.names import NameServer

from .messages import FAST, raw
from .test_triton_trouble import eventually, ready

NAME = "triton.test"
TILE_S = 0.05
"""Time each server takes for a tile: long enough that tiles are under way when something happens."""


def tiles(triton) -> float:
    """Returns how many tiles a server has answered."""
    with urllib.request.urlopen(f"http://{triton.metrics}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("nv_inference_request_success"))


def test_servers_come_go_and_die(start_slow_triton, start_gateway, image, scrape):
    pixels = image("nuclei_fluorescence")
    request = pb.SegmentRequest(image=raw(pixels[:400, :400].copy()), params=FAST)
    with contextlib.ExitStack() as cleanup:
        names = cleanup.enter_context(contextlib.closing(NameServer()))
        port = 0

        def start(host: str):
            """Starts a server on a loopback address of its own and the common port, as a pod of a headless Service."""
            triton = start_slow_triton("--host", host, "--grpc-port", str(port), tile_s=TILE_S)
            cleanup.callback(triton.stop)
            return triton

        first = start("127.0.0.2")
        port = int(first.grpc.rpartition(":")[2])
        names.set(NAME, "127.0.0.2")
        gateway = start_gateway(f"dns://{names.address}/{NAME}:{port}")
        cleanup.callback(gateway.process.stop)
        pool = cleanup.enter_context(ThreadPoolExecutor(6))
        channel = cleanup.enter_context(grpc.insecure_channel(gateway.address))
        stub = segmentation_pb2_grpc.SegmentationServiceStub(channel)

        def load(images: int) -> list:
            return [pool.submit(stub.Segment, request, timeout=120) for _ in range(images)]

        def servers(state: str) -> float:
            return scrape(gateway)[f'cellserve_triton_servers{{state="{state}"}}']

        # A new server is found, and gets its part.
        second = start("127.0.0.3")
        names.set(NAME, "127.0.0.2", "127.0.0.3")
        assert eventually(lambda: servers("ready") == 2)
        before = tiles(first), tiles(second)
        expected, *_ = [answer.result().labels for answer in load(8)]
        shares = np.subtract((tiles(first), tiles(second)), before)
        assert shares.min() > 0.35 * shares.sum(), shares

        # One dies with tiles in it: the other one takes them, and the callers notice nothing.
        answers = load(6)
        time.sleep(0.3)
        os.kill(first.server_pid, signal.SIGKILL)
        assert all(answer.result().labels == expected for answer in answers)
        assert scrape(gateway)['cellserve_triton_failovers_total{network="generalist_single"}'] > 0
        assert ready(gateway.address)
        assert eventually(lambda: servers("ready") == 1)
        first.stop()

        third = start("127.0.0.4")
        names.set(NAME, "127.0.0.3", "127.0.0.4")
        assert eventually(lambda: servers("ready") == 2)

        # One becomes silent, with tiles in work and an open connection. After two failed health probes its tiles move.
        answers = load(3)
        time.sleep(0.3)
        start = time.monotonic()
        os.kill(third.server_pid, signal.SIGSTOP)
        try:
            assert all(answer.result().labels == expected for answer in answers)
            assert time.monotonic() - start < 20, "not the half minute after which its connection is given up"
        finally:
            os.kill(third.server_pid, signal.SIGCONT)
        assert eventually(lambda: servers("ready") == 2)

        # A server that leaves finishes what it has.
        answers = load(6)
        names.set(NAME, "127.0.0.4")
        assert eventually(lambda: servers("known") == 1)
        had = tiles(second)
        assert second.stop() == 0
        assert all(answer.result().labels == expected for answer in answers)
        assert had > 0

        # The name server fails: the servers it named are kept.
        names.close()
        time.sleep(3)
        assert servers("ready") == 1
        assert load(1)[0].result().labels == expected


@pytest.mark.parametrize("target", ["nowhere", "dns:///:1"])
def test_a_target_that_makes_no_sense_is_told_at_the_start(start_gateway, target):
    with pytest.raises(stack.StartError, match="HOST:PORT"):
        start_gateway(target)
